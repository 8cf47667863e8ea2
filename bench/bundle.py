"""Bundles against `tar --zstd`, on the same files, in one run.

    python -m bench.bundle [--mebibytes 1024] [--json]

Makes files of which half is noise and half is this interpreter's own code, packs,
verifies, signs and extracts them, each in a process of its own, and reports seconds,
throughput and peak memory. What tar leaves out (hashes, a check of the archive before
anything is unpacked) is what the ratio pays for.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

FILES = 16
MEBIBYTE = 1 << 20

PACK = """
import sys
from pathlib import Path
from lpengine.package import content_of, write_bundle
from lpengine.package.model import DiskFile, Update
sources = {f"files/{p.name}": p for p in Path(sys.argv[1]).iterdir()}
files = tuple(
    DiskFile(f"/{member}", 0o644, "root", "root", content_of(member, path))
    for member, path in sources.items()
)
write_bundle(Update("LPU-1", files=files), sources, Path(sys.argv[2]))
"""
OPEN = """
import sys
from lpengine.package import open_update
open_update(sys.argv[1]).close()
"""
VERIFY = """
import sys
from lpengine.package import open_update
with open_update(sys.argv[1]) as bundle:
    bundle.check_contents()
"""
EXTRACT = """
import sys
from pathlib import Path
from lpengine.package import open_update
with open_update(sys.argv[1]) as bundle:
    for content in bundle.contents:
        bundle.extract(content, Path(sys.argv[2]) / Path(content.member).name)
"""
SIGN = """
import sys
from pathlib import Path
from lpengine.api.updates import sign_bundle
sign_bundle(sys.argv[1], sys.argv[2])
"""
PEAK = """
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


def make_files(directory: Path, mebibytes: int) -> None:
    code = Path(os.path.realpath(sys.executable)).read_bytes()[:MEBIBYTE]
    source = random.Random(1)
    for number in range(FILES):
        with (directory / f"file-{number:02}").open("wb") as file:
            for block in range(mebibytes // FILES):
                file.write(code if block % 2 else source.randbytes(MEBIBYTE))


def seconds_of(command: Sequence[str | Path]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def ours(code: str, *arguments: Path) -> tuple[float, int]:
    """(seconds, peak KiB) of a process that does it."""
    command = [sys.executable, "-c", code + PEAK, *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start, int(done.stdout)


def compare(scratch: Path, mebibytes: int) -> list[dict[str, object]]:
    files, out, key = scratch / "files", scratch / "out", scratch / "key"
    files.mkdir()
    out.mkdir()
    make_files(files, mebibytes)
    bundle, tarball = scratch / "update.lpu", scratch / "update.tar.zst"
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(keygen, check=True)
    tar = ["tar", "--zstd", "-C"]
    rows = []

    def row(what: str, mine: tuple[float, int], peer: float = 0) -> None:
        seconds, memory = mine
        found: dict[str, object] = {
            "what": what,
            "seconds": round(seconds, 2),
            "MiB/s": round(mebibytes / seconds),
            "peak MiB": memory >> 10,
        }
        if peer:
            found["tar seconds"] = round(peer, 2)
            found["ours / tar"] = round(seconds / peer, 2)
        rows.append(found)

    packing = [*tar, files, "-cf", tarball, "."]
    row("create", ours(PACK, files, bundle), seconds_of(packing))
    row("open", ours(OPEN, bundle))
    listing = ["tar", "--zstd", "-tf", tarball]
    row("verify", ours(VERIFY, bundle), seconds_of(listing))
    row("sign", ours(SIGN, bundle, key))
    unpacking = [*tar, out, "-xf", tarball]
    row("extract", ours(EXTRACT, bundle, out), seconds_of(unpacking))
    rows.append(
        {
            "what": "size",
            "MiB": bundle.stat().st_size >> 20,
            "ours / tar": round(bundle.stat().st_size / tarball.stat().st_size, 3),
        }
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = compare(Path(scratch), options.mebibytes)
    if options.json:
        print(json.dumps({"schema": "lpengine/bench-bundle/1", "rows": rows}))
        return
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()

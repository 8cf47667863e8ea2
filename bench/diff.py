"""Comparing two builds of all objects of a hypervisor or kernel tree, as
`lpengine build objects` does: seconds and peak memory, beside what it takes to read
every byte of both and to parse the originals with pyelftools.

    python bench/diff.py ORIGINAL PATCHED [--rounds 5] [--json]

Each round is a process of its own. Exit code 1 where it takes more than --limit
seconds (default 5, for the about 400 objects of Xen).
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path


def measure(command: list[str], rounds: int) -> tuple[float, int]:
    """Median seconds, and the most memory of any round in MiB."""
    seconds = []
    for _ in range(rounds):
        begun = time.monotonic()
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        seconds.append(time.monotonic() - begun)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return statistics.median(seconds), peak >> 10


def read_all(directories: list[Path]) -> float:
    begun = time.monotonic()
    for directory in directories:
        for path in directory.rglob("*.o"):
            path.read_bytes()
    return time.monotonic() - begun


PYELFTOOLS = """
import sys
from pathlib import Path
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
for path in Path(sys.argv[1]).rglob("*.o"):
    with path.open("rb") as file:
        try:
            elf = ELFFile(file)
        except ELFError:
            continue
        for section in elf.iter_sections():
            if section["sh_type"] in ("SHT_RELA", "SHT_SYMTAB"):
                iterate = getattr(section, "iter_relocations", None)
                for _ in iterate() if iterate else section.iter_symbols():
                    pass
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("original", type=Path)
    parser.add_argument("patched", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=5)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    lpengine = [sys.executable, "-m", "lpengine", "build", "objects", "--json"]
    command = [*lpengine, "--original", str(chosen.original)]
    command += ["--patched", str(chosen.patched)]
    done = subprocess.run(command, capture_output=True, check=False)
    document = json.loads(done.stdout)
    seconds, peak = measure(command, chosen.rounds)
    peer = [sys.executable, "-c", PYELFTOOLS, str(chosen.original)]
    result = {
        "objects": len(document["objects"]),
        "verdict": document["verdict"],
        "differing": sum(o["verdict"] != "unchanged" for o in document["objects"]),
        "seconds": round(seconds, 2),
        "peak_mib": peak,
        "reading_seconds": round(read_all([chosen.original, chosen.patched]), 2),
        "pyelftools_seconds": round(measure(peer, 1)[0], 2),
    }
    if chosen.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:<20} {value}")
    return 0 if seconds <= chosen.limit else 1


if __name__ == "__main__":
    sys.exit(main())

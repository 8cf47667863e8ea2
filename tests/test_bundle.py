"""Bundles: written, opened, read back; and every dishonest one refused."""

import hashlib
import json
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from lpengine.errors import (
    InputError,
    NotFoundError,
    NotPermittedError,
    UsageError,
)
from lpengine.package import content_of, open_update, write_bundle
from lpengine.package.archive import Archive
from tests.update_cases import CONTENTS, an_update


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "update.lpu"
    write_bundle(an_update(), CONTENTS, path)
    return path


def test_an_update_comes_back_as_it_was(packed: Path) -> None:
    with open_update(packed) as bundle:
        assert bundle.update == an_update()
        assert {c.member: bundle.read(c) for c in bundle.contents} == CONTENTS
        assert bundle.digest == hashlib.sha256(bundle.manifest).hexdigest()
        assert bundle.signature == b""
        bundle.check_contents()


def test_the_same_update_gives_the_same_bytes(packed: Path, tmp_path: Path) -> None:
    update = an_update()
    turned = an_update(files=update.files[::-1], cves=update.cves[::-1])
    other = tmp_path / "other.lpu"
    write_bundle(turned, dict(reversed(CONTENTS.items())), other)
    assert other.read_bytes() == packed.read_bytes()


def test_contents_may_be_files(packed: Path, tmp_path: Path) -> None:
    sources = {}
    for number, (member, data) in enumerate(CONTENTS.items()):
        sources[member] = tmp_path / str(number)
        sources[member].write_bytes(data)
    other = tmp_path / "other.lpu"
    write_bundle(an_update(), sources, other)
    assert other.read_bytes() == packed.read_bytes()


def test_a_content_is_extracted_whole_or_not_at_all(
    packed: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    target.write_text("old")
    with open_update(packed) as bundle:
        content = next(c for c in bundle.contents if c.member.startswith("packages/"))
        bundle.extract(content, target, mode=0o640)
        assert target.read_bytes() == CONTENTS[content.member]
        assert target.stat().st_mode & 0o7777 == 0o640
        # The file is damaged while it is open.
        with Archive(packed) as archive:
            frame = archive.members[-1].content
        raw = bytearray(packed.read_bytes())
        raw[(frame.start + frame.end) // 2] ^= 0x55
        packed.write_bytes(raw)
        target.write_text("old")
        with pytest.raises(InputError, match="packages/tool"):
            bundle.extract(content, target)
    assert target.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "update.lpu"]


def test_tar_and_zstd_read_a_bundle(packed: Path, tmp_path: Path) -> None:
    """Whoever has no lpengine can still look into an update."""
    listing = ["tar", "--zstd", "-tf", packed]
    names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
    assert names.split() == ["manifest.json", *sorted(CONTENTS)]
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "--zstd", "-xf", packed, "-C", out], check=True)
    for member, data in CONTENTS.items():
        assert (out / member).read_bytes() == data
    assert json.loads((out / "manifest.json").read_text())["id"] == "LPU-2026-0001"


def test_reading_has_a_limit(packed: Path) -> None:
    with open_update(packed) as bundle, pytest.raises(InputError, match="more than 9"):
        bundle.read(next(c for c in bundle.contents if c.size > 9), limit=9)


def test_what_is_not_in_the_update_is_not_read(packed: Path) -> None:
    with open_update(packed) as bundle, pytest.raises(UsageError, match="holds no"):
        bundle.read(content_of("files/other", b"x"))


@pytest.mark.parametrize("member", [*CONTENTS])
def test_a_source_that_is_not_as_announced_is_not_packed(
    member: str, tmp_path: Path
) -> None:
    path = tmp_path / "update.lpu"
    changed = {**CONTENTS, member: CONTENTS[member] + b"!"}
    with pytest.raises(InputError, match="announced"):
        write_bundle(an_update(), changed, path)
    same_size = {**CONTENTS, member: bytes(len(CONTENTS[member]))}
    if same_size != CONTENTS:
        with pytest.raises(InputError, match="announced"):
            write_bundle(an_update(), same_size, path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    sources = {**CONTENTS, "files/motd": tmp_path / "motd"}
    with pytest.raises(NotFoundError, match="motd"):
        write_bundle(an_update(), sources, tmp_path / "update.lpu")
    with pytest.raises(UsageError, match="files/empty"):
        write_bundle(an_update(), {}, tmp_path / "update.lpu")


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"id": "two words"},
        {"issued": "yesterday"},
        {"components": ("hypervisor",)},
        {"severity": "high\n"},
    ],
)
def test_what_no_manifest_can_say_is_not_packed(
    changes: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(UsageError):
        write_bundle(an_update(**changes), CONTENTS, tmp_path / "update.lpu")


def test_a_package_is_there_once(tmp_path: Path) -> None:
    packages = an_update().packages * 2
    with pytest.raises(UsageError, match="tool: is there twice"):
        write_bundle(an_update(packages=packages), CONTENTS, tmp_path / "update.lpu")


def test_a_path_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        open_update(tmp_path / "none")
    with pytest.raises(InputError, match="not a file"):
        open_update(tmp_path)
    (tmp_path / "text").write_text("hello, hello, hello")
    with pytest.raises(InputError, match="not a bundle"):
        open_update(tmp_path / "text")


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """Whatever fails while a file is written, what was there stays."""
    path = tmp_path / "update.lpu"
    path.write_text("old")
    small = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, small[1]))
    try:
        with pytest.raises(NotPermittedError, match="File too large"):
            write_bundle(an_update(), CONTENTS, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, small)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


MEASURED = """
import sys
from pathlib import Path
from lpengine.package import content_of, open_update, write_bundle
from lpengine.package.model import DiskFile, Update

source, scratch = Path(sys.argv[1]), Path(sys.argv[2])
content = content_of("files/large", source)
file = DiskFile("/large", 0o644, "root", "root", content)
write_bundle(Update("LPU-1", files=(file,)), {content.member: source}, scratch / "b")
with open_update(scratch / "b") as bundle:
    bundle.check_contents()
    bundle.extract(content, scratch / "large")
# Not getrusage: that remembers the process from which this one was started.
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def test_large_contents_are_never_in_memory(tmp_path: Path) -> None:
    source, noise = tmp_path / "source", random.Random(1).randbytes(1 << 20)
    with source.open("wb") as file:
        for _ in range(128):
            file.write(noise)
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-c", MEASURED, source, tmp_path / "out"]
    done = subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "out" / "large").stat().st_size == 128 << 20
    assert int(done.stdout) < 64 << 10  # KiB

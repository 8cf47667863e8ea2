"""Every archive that no honest publisher makes is refused, in a line that says why."""

import json
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from lpengine.errors import InputError, UsageError
from lpengine.package import content_of, open_update, write_bundle
from lpengine.package.archive import LARGEST_MANIFEST, MOST_MEMBERS, Archive
from lpengine.package.frames import LARGEST_WINDOW
from lpengine.package.manifest import encode
from lpengine.package.members import END, header
from lpengine.package.model import DiskFile, Update
from lpengine.package.signers import Signers, TrustedKey
from lpengine.package.ssh_keys import make_key
from lpengine.package.sshsig import sign
from tests.archive_cases import archive, frame
from tests.update_cases import CONTENTS, an_update

MANIFEST = encode(an_update())
MEMBERS = [("manifest.json", MANIFEST), *sorted(CONTENTS.items())]


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[bytes], str]:
    """Opens and reads such a file; the line with which it is refused."""

    def attempt(raw: bytes) -> str:
        path = tmp_path / "hostile.lpu"
        path.write_bytes(raw)
        with pytest.raises(InputError) as caught, open_update(path) as bundle:
            bundle.check_contents()
        assert caught.value.message.startswith(str(path))
        assert "\n" not in caught.value.message
        assert caught.value.message.isprintable()
        return caught.value.message.removeprefix(f"{path}: ")

    return attempt


def test_the_honest_one_is_taken(tmp_path: Path) -> None:
    (tmp_path / "honest.lpu").write_bytes(archive(MEMBERS))
    with open_update(tmp_path / "honest.lpu") as bundle:
        bundle.check_contents()
        assert bundle.update == an_update()


def altered(member: str, length: int, **fields: bytes) -> bytes:
    """A header with some fields exchanged and its checksum right."""
    places = {"name": 0, "mode": 100, "uid": 108, "size": 124, "mtime": 136}
    places |= {"type": 156, "link": 157, "magic": 257, "user": 265, "prefix": 345}
    block = bytearray(header(member, length))
    for field, value in fields.items():
        block[places[field] : places[field] + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


KINDS = [
    (b"1", "hard link"),
    (b"2", "symbolic link"),
    (b"3", "character device"),
    (b"4", "block device"),
    (b"5", "directory"),
    (b"6", "named pipe"),
    (b"L", "long name"),
    (b"K", "long link name"),
    (b"S", "file with holes"),
    (b"x", "extended header"),
    (b"g", "global header"),
    (b"7", "contiguous"),
    (b"Z", "nobody knows"),
]


@pytest.mark.parametrize(("kind", "complaint"), KINDS)
def test_only_files_are_members(
    refused: Callable[[bytes], str], kind: bytes, complaint: str
) -> None:
    block = altered("files/motd", 8, type=kind, link=b"/etc/shadow")
    members = [(block, data) if name == "files/motd" else (name, data)
               for name, data in MEMBERS]  # fmt: skip
    line = refused(archive(members))
    assert line.startswith("files/motd: ")
    assert complaint in line


NAMES = [
    ("../motd", "leads out"),
    ("files/../../motd", "leads out"),
    ("..", "leads out"),
    ("/etc/motd", "absolute"),
    ("./motd", "not a name"),
    ("files//motd", "not a name"),
    ("files/", "not a name"),
    (".hidden", "not a name"),
    ("-rf", "not a name"),
    ("a b", "not a name"),
    ("a\nb", "not a name"),
    ("a\x1b[2Jb", "not a name"),
    ("C:\\x", "not a name"),
    ("", "not a name"),
    ("a" * 100, "not a name"),
]


@pytest.mark.parametrize(("name", "complaint"), NAMES)
def test_names_lead_nowhere_else(
    refused: Callable[[bytes], str], name: str, complaint: str
) -> None:
    assert complaint in refused(archive([*MEMBERS, (header(name, 1), b"x")]))


@pytest.mark.parametrize("name", [name for name, _ in NAMES])
def test_a_manifest_that_asks_for_such_a_name(
    refused: Callable[[bytes], str], name: str
) -> None:
    data = json.loads(MANIFEST)
    data["files"][0]["content"]["member"] = name
    raw = json.dumps(data).encode()
    assert "member" in refused(archive([("manifest.json", raw), *MEMBERS[1:]]))


HEADERS = [
    {"mode": b"0004755"},
    {"uid": b"0001000"},
    {"mtime": b"00000000001"},
    {"user": b"nobody"},
    {"prefix": b"/etc"},
    {"link": b"/etc/shadow"},
    {"size": b"0000000000x"},
    {"size": b"\x80\0\0\0\0\0\0\0\0\0\0\x08"},
    {"magic": b"gnutar"},
]


@pytest.mark.parametrize("fields", HEADERS)
def test_headers_have_one_form(
    refused: Callable[[bytes], str], fields: dict[str, bytes]
) -> None:
    block = altered("files/motd", 8, **fields)
    members = [(block, data) if name == "files/motd" else (name, data)
               for name, data in MEMBERS]  # fmt: skip
    refused(archive(members))


def without(name: str) -> list[tuple[str, bytes]]:
    return [member for member in MEMBERS if member[0] != name]


def with_data(name: str, data: bytes) -> list[tuple[str, bytes]]:
    return [(each, data if each == name else old) for each, old in MEMBERS]


ARCHIVES = [
    (archive([*MEMBERS, ("files/motd", b"x")]), "files/motd is there twice"),
    (archive([*MEMBERS, ("files/zz", b"x")]), "files/zz is not in the manifest"),
    (archive(without("files/motd")), "files/motd is missing"),
    (archive([MEMBERS[0], *reversed(MEMBERS[1:])]), "not in order"),
    (archive(MEMBERS[1:]), "does not start with manifest.json"),
    (archive([MEMBERS[1], MEMBERS[0], *MEMBERS[2:]]), "does not start with manifest"),
    (archive([]), "does not start with manifest.json"),
    (
        archive([*MEMBERS, ("manifest.json.sig", b"x")]),
        "manifest.json.sig is not in the manifest",
    ),
    (archive(with_data("files/motd", b"goodbye\n")), "not what the manifest says"),
    (archive(with_data("files/motd", b"x")), "1 bytes, and the manifest says 8"),
    (archive(MEMBERS, tail=b"x"), "something follows"),
    (archive(MEMBERS, tail=archive(MEMBERS)), "something follows"),
    (archive(MEMBERS, end=b""), "no tar header"),
    (archive(MEMBERS, end=END[:512]), "no tar header"),
    (archive(MEMBERS, end=b"x" * 1024), "no tar header"),
    (b"", "truncated"),
    (b"\x28\xb5\x2f\xfd", "truncated"),
    (b"PK\3\4" + bytes(100), "not a bundle"),
    # A skippable frame: zstd passes over it in silence.
    (struct.pack("<II", 0x184D2A50, 4) + b"evil" + archive(MEMBERS), "not a bundle"),
    (archive([("manifest.json", b"{"), *MEMBERS[1:]]), "not JSON"),
    (archive([("manifest.json", b"[]"), *MEMBERS[1:]]), "not a manifest"),
    (archive([("manifest.json", b"\xff"), *MEMBERS[1:]]), "not JSON"),
    (archive([("manifest.json", b"[" * 100_000)]), "not JSON"),
    (archive([("manifest.json", b"1" * 100_000)]), "not JSON"),
    (archive([("manifest.json", b'{"id":1,"id":2}')]), "a key is there twice"),
    (archive([("manifest.json", b'{"size":NaN}')]), "NaN"),
]


@pytest.mark.parametrize(("raw", "complaint"), ARCHIVES)
def test_what_does_not_belong_together(
    refused: Callable[[bytes], str], raw: bytes, complaint: str
) -> None:
    assert complaint in refused(raw)


def odd_frame(data: bytes, **parameters: object) -> bytes:
    return zstandard.ZstdCompressor(**parameters).compress(data)  # type: ignore[arg-type]


FIRST = header("manifest.json", len(MANIFEST))
FRAMES = [
    (odd_frame(FIRST, write_content_size=False), "how much it unpacks to"),
    (odd_frame(FIRST, write_checksum=True), "a checksum"),
    (frame(FIRST)[:4] + b"\x61" + frame(FIRST)[5:], "a dictionary"),
    (frame(FIRST)[:4] + b"\x68" + frame(FIRST)[5:], "a reserved bit"),
    (frame(bytes(4000)), "where 1024 are most"),
    (frame(FIRST)[:-1], "damaged"),
    (frame(FIRST[:-1]), "no tar header"),
    # A reserved block type, and a block that goes on beyond the file.
    (b"\x28\xb5\x2f\xfd\x60\0\1" + b"\x07\0\0", "reserved kind"),
    (b"\x28\xb5\x2f\xfd\x60\0\1" + b"\xf9\xff\xff", "truncated"),
    # RLE blocks are how a few bytes become gigabytes: here 128 KiB in a frame of 512.
    (b"\x28\xb5\x2f\xfd\x60\0\1" + b"\x03\0\x10x", "damaged"),
    # Blocks of nothing keep a reader busy.
    (b"\x28\xb5\x2f\xfd\x60\0\1" + b"\0\0\0" * 1000, "too small"),
]


@pytest.mark.parametrize(("first", "complaint"), FRAMES)
def test_frames_have_one_form(
    refused: Callable[[bytes], str], first: bytes, complaint: str
) -> None:
    rest = archive(MEMBERS)[len(frame(FIRST)) :]
    assert complaint in refused(first + rest)


def test_a_frame_says_how_much_memory_it_takes(
    refused: Callable[[bytes], str],
) -> None:
    size = 2 * LARGEST_WINDOW
    parameters = zstandard.ZstdCompressionParameters(window_log=25)
    big = odd_frame(bytes(size), compression_params=parameters)
    raw = frame(header("manifest.json", size)) + big + frame(END)
    assert "to unpack" in refused(raw)


def test_a_content_is_no_longer_than_its_header_says(
    refused: Callable[[bytes], str],
) -> None:
    raw = frame(header("manifest.json", 10)) + frame(bytes(1 << 20)) + frame(END)
    assert "a frame of 1048576 bytes where 10 are most" in refused(raw)


def test_a_manifest_has_a_limit(refused: Callable[[bytes], str]) -> None:
    raw = archive([("manifest.json", bytes(LARGEST_MANIFEST + 1))])
    assert "manifest.json is larger than" in refused(raw)


def test_a_signature_has_a_limit(refused: Callable[[bytes], str]) -> None:
    members = [MEMBERS[0], ("manifest.json.sig", bytes(100_000)), *MEMBERS[1:]]
    assert "manifest.json.sig is larger than" in refused(archive(members))


def test_the_number_of_members_has_a_limit(refused: Callable[[bytes], str]) -> None:
    empty = frame(b"")
    names = (f"f/{number}" for number in range(MOST_MEMBERS))
    raw = b"".join(frame(header(name, 0)) + empty for name in names)
    first = frame(header("manifest.json", 0)) + empty
    assert f"more than {MOST_MEMBERS}" in refused(first + raw + frame(END))


def mostly_nothing(size: int) -> tuple[Update, dict[str, bytes]]:
    content = content_of("files/zeros", bytes(size))
    file = DiskFile("/zeros", 0o644, "root", "root", content)
    return Update("LPU-1", files=(file,)), {"files/zeros": bytes(size)}


def test_a_bomb(refused: Callable[[bytes], str], tmp_path: Path) -> None:
    update, contents = mostly_nothing(65 << 20)
    members = [("manifest.json", encode(update)), *contents.items()]
    assert "bytes that unpack to" in refused(archive(members))
    # We do not make what we would not take.
    with pytest.raises(UsageError, match="no reader would believe"):
        write_bundle(update, contents, tmp_path / "bomb.lpu")
    assert not (tmp_path / "bomb.lpu").exists()
    update, contents = mostly_nothing(63 << 20)
    write_bundle(update, contents, tmp_path / "large.lpu")
    with open_update(tmp_path / "large.lpu") as bundle:
        bundle.check_contents()


KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = make_key(KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
SIGNATURE = sign(MANIFEST, PUBLIC, KEY.sign)


def test_a_live_patch_that_is_not_relied_on_is_still_in_the_archive(
    tmp_path: Path,
) -> None:
    """A newer publisher says more of it than we understand."""
    data = json.loads(MANIFEST)
    data["livepatches"][0]["only_on"] = "full moon"
    raw = json.dumps(data).encode()
    path = tmp_path / "newer.lpu"
    path.write_bytes(archive([("manifest.json", raw), *MEMBERS[1:]]))
    with open_update(path) as bundle:
        bundle.check_contents()
        assert bundle.update.livepatches == ()
        assert [defect.component for defect in bundle.update.defects] == ["xen"]
        assert {each.member for each in bundle.contents} == set(CONTENTS)
    changed = [(n, b"!" + d[1:] if n.startswith("live") else d) for n, d in MEMBERS]
    path.write_bytes(archive([("manifest.json", raw), *changed[1:]]))
    with (
        open_update(path) as bundle,
        pytest.raises(InputError, match="not what the manifest says"),
    ):
        bundle.check_contents()


HONEST = archive([MEMBERS[0], ("manifest.json.sig", SIGNATURE), *MEMBERS[1:]])
SIGNERS = Signers("signers", (TrustedKey(1, "me", PUBLIC),))
NOW = datetime(2026, 11, 25, tzinfo=UTC)


def everything_in(path: Path) -> object:
    """What comes out of a signed bundle; InputError where it is refused."""
    with open_update(path) as bundle:
        bundle.verify(SIGNERS, NOW)
        bundle.check_contents()
        return bundle.manifest, {c.member: bundle.read(c) for c in bundle.contents}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile") / "damaged.lpu"


@given(st.integers(0, len(HONEST) - 1))
def test_no_part_may_be_cut_off(scratch: Path, length: int) -> None:
    scratch.write_bytes(HONEST[:length])
    with pytest.raises(InputError):
        everything_in(scratch)


@settings(max_examples=300)
@given(st.integers(0, len(HONEST) - 1), st.integers(1, 255))
def test_no_byte_may_change(scratch: Path, place: int, change: int) -> None:
    """Or it changes nothing of what comes out: zstd and base64 have bits that say
    nothing."""
    raw = bytearray(HONEST)
    raw[place] ^= change
    scratch.write_bytes(raw)
    try:
        found = everything_in(scratch)
    except InputError:
        return
    assert found == (MANIFEST, CONTENTS)


@given(st.lists(st.sampled_from(range(len(MEMBERS))), max_size=6))
def test_members_are_all_there_once_and_in_order(
    scratch: Path, order: list[int]
) -> None:
    scratch.write_bytes(archive([MEMBERS[index] for index in order]))
    if order == list(range(len(MEMBERS))):
        open_update(scratch).close()
        return
    with pytest.raises(InputError):
        open_update(scratch)


def test_a_bundle_that_is_exchanged_while_it_is_open(tmp_path: Path) -> None:
    """What was opened is what is read: another file in its place is not looked at."""
    path = tmp_path / "update.lpu"
    path.write_bytes(HONEST)
    with open_update(path) as bundle:
        (tmp_path / "evil").write_bytes(archive(with_data("files/motd", b"goodbye\n")))
        (tmp_path / "evil").replace(path)
        assert bundle.read(bundle.contents[1]) == b"welcome\n"


def test_archives_are_closed(tmp_path: Path) -> None:
    (tmp_path / "honest.lpu").write_bytes(HONEST)
    with Archive(tmp_path / "honest.lpu") as opened:
        member = opened.members[0]
    with pytest.raises(InputError, match="Bad file descriptor"):
        list(opened.stream(member))

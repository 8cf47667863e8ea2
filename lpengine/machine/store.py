"""A machine as a directory: written so that a crash leaves before or after.

    image         the ELF file, as it was given
    machine.json  what never changes: `Description`
    state         what does: header, record, changed pages, SHA-256 of all of it
    state.new     the next state while it is being written; ignored

`state` begins with `_MAGIC`, the length of the header (4 bytes, little endian) and
the header, a `_Header` in JSON.
"""

import glob
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from shutil import rmtree
from struct import pack, unpack_from

import msgspec

from lpengine.elf import Image, parse_image
from lpengine.errors import InputError, NotFoundError, TargetError, UsageError
from lpengine.machine.layout import MAX_CPUS, PAGE, Layout, lay_out, pages_of

FORMAT = 1
_MAGIC = b"lpengine state 1\n"
_DIGEST_SIZE = 32
_HINT = "create the machine again: lpengine machine create"


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`machine.json`."""

    format: int
    created_by: str
    image_sha256: str
    build_id: str
    cpus: int
    features: tuple[int, ...]
    version: str

    @property
    def digest(self) -> str:
        """What ties a state to it."""
        return sha256(msgspec.json.encode(self)).hexdigest()


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sequence: int
    machine: str
    record_size: int
    allocations: list[tuple[int, int]]
    protections: list[tuple[int, int]]
    pages: list[int]


@dataclass(frozen=True)
class State:
    """What of a machine changes. `allocations` are start to size, `protections`
    page to bits, `pages` address to bytes where they differ from the image."""

    sequence: int = 0
    record: bytes = b""
    allocations: Mapping[int, int] = field(default_factory=dict)
    protections: Mapping[int, int] = field(default_factory=dict)
    pages: Mapping[int, bytes] = field(default_factory=dict)


def encode_state(state: State, machine: str) -> bytes:
    header = _Header(
        state.sequence,
        machine,
        len(state.record),
        sorted(state.allocations.items()),
        sorted(state.protections.items()),
        sorted(state.pages),
    )
    encoded = msgspec.json.encode(header)
    pages = (state.pages[address] for address in header.pages)
    parts = [_MAGIC, pack("<I", len(encoded)), encoded, state.record, *pages]
    content = b"".join(parts)
    return content + sha256(content).digest()


def decode_state(content: bytes, layout: Layout, machine: str) -> State:
    """ValueError, with what is wrong, for anything but the state of the machine
    whose description has the digest `machine`."""
    body, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if not content.startswith(_MAGIC):
        raise ValueError("is not the state of a machine")
    if sha256(body).digest() != digest:
        raise ValueError("is damaged: its checksum does not match")
    start = len(_MAGIC) + 4
    (size,) = unpack_from("<I", body, len(_MAGIC))
    header = msgspec.json.decode(body[start : start + size], type=_Header)
    record_end = start + size + header.record_size
    if len(body) != record_end + PAGE * len(header.pages):
        raise ValueError("has another size than its header says")
    if header.machine != machine:
        raise ValueError("and machine.json do not belong together")
    _check_header(header, layout)
    pages = {
        address: body[record_end + PAGE * index : record_end + PAGE * (index + 1)]
        for index, address in enumerate(header.pages)
    }
    record = body[start + size : record_end]
    allocations, protections = dict(header.allocations), dict(header.protections)
    return State(header.sequence, record, allocations, protections, pages)


def _check_header(header: _Header, layout: Layout) -> None:
    area = layout.patch_area
    for start, size in header.allocations:
        if size <= 0 or start < area.start or start + size > area.end:
            raise ValueError(f"allocates memory outside the patch area: {start:#x}")
    for (start, size), (following, _) in pairwise(header.allocations):
        if start + size > following:
            raise ValueError(f"allocates memory twice: {following:#x}")
    allocated = {page for run in header.allocations for page in pages_of(*run)}
    for page, bits in header.protections:
        if page not in allocated or not 0 <= bits <= 5:
            raise ValueError(f"protects {page:#x} in a way that cannot be")
    if {page for page, _ in header.protections} != allocated:
        raise ValueError("lacks the protection of an allocated page")
    for page in header.pages:
        if not (page in allocated or any(page in span for span in layout.images)):
            raise ValueError(f"has a page where there is no memory: {page:#x}")


class Store:
    """The directory of one machine, open."""

    def __init__(self, directory: Path, description: Description) -> None:
        """Before the state is read: what comes later is then noticed as a change."""
        self.directory = directory
        self.description = description
        self._seen = self._stamp()

    def _stamp(self) -> tuple[int, ...]:
        try:
            status = (self.directory / "state").stat()
        except OSError:
            # Reading it says so, in better words.
            return ()
        return status.st_ino, status.st_mtime_ns, status.st_size

    def check_unchanged(self) -> None:
        """TargetError where another process has changed the machine since."""
        if self._stamp() != self._seen:
            raise TargetError(
                f"{self.directory}: another process has changed the machine",
                cause="machine-changed",
                errno="EBUSY",
                hint="open it again",
            )

    def commit(self, state: State) -> None:
        """Make a state the machine's. TargetError where it could not be written or
        another process has changed the machine; then nothing has changed."""
        path, new = self.directory / "state", self.directory / "state.new"
        content = encode_state(state, self.description.digest)
        try:
            self.check_unchanged()
            _write_synced(new, content)
            new.replace(path)
            self._seen = self._stamp()
        except OSError as error:
            raise TargetError(
                f"{path}: cannot be written: {error.strerror}",
                cause="machine-not-written",
                errno="EIO",
            ) from error
        # It is the machine's state from here on, also where this fails: a power cut
        # may then bring back the state before, which is whole too.
        with suppress(OSError):
            _sync(self.directory)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_store(directory: Path, image: bytes, description: Description) -> Store:
    """Build the directory beside its place, then rename it there. UsageError where
    something is there already."""
    check_vacant(directory)
    new = directory.parent / f".{directory.name}.{os.getpid()}.new"
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(directory)
        new.mkdir()
        _write_synced(new / "image", image)
        _write_synced(new / "machine.json", msgspec.json.encode(description))
        empty = encode_state(State(), description.digest)
        _write_synced(new / "state", empty)
        _sync(new)
        new.rename(directory)
        _sync(directory.parent)
    except OSError as error:
        with suppress(OSError):
            rmtree(new)
        raise UsageError(f"{directory}: cannot be created: {error.strerror}") from error
    return Store(directory, description)


def _clear_leftovers(directory: Path) -> None:
    """Remove what creations that were killed have left behind."""
    for path in directory.parent.glob(f".{glob.escape(directory.name)}.*.new"):
        pid = path.name.removesuffix(".new").rpartition(".")[2]
        if pid.isdecimal() and not (Path("/proc") / pid).exists():
            rmtree(path)


def check_vacant(directory: Path) -> None:
    """UsageError unless `directory` is absent or empty."""
    try:
        if not directory.exists() or not any(directory.iterdir()):
            return
    except NotADirectoryError:
        raise UsageError(f"{directory}: is a file") from None
    hint = "name another directory, or delete this one"
    raise UsageError(f"{directory}: is not empty", hint=hint)


def open_store(directory: Path) -> tuple[Store, Image, Layout, State]:
    """NotFoundError where there is no machine, InputError where it is damaged."""
    if not (directory / "machine.json").is_file():
        raise NotFoundError(f"{directory}: there is no machine", hint=_HINT)
    description = _read_description(directory / "machine.json")
    content = _read(directory / "image")
    if sha256(content).hexdigest() != description.image_sha256:
        raise _damaged(directory / "image", "is not the image it was created from")
    image = parse_image(content, str(directory / "image"))
    layout = lay_out(image, description.cpus)
    path = directory / "state"
    store = Store(directory, description)
    raw = _read(path)
    try:
        state = decode_state(raw, layout, description.digest)
    except (ValueError, msgspec.DecodeError) as error:
        raise _damaged(path, str(error)) from error
    return store, image, layout, state


def _read_description(path: Path) -> Description:
    try:
        description = msgspec.json.decode(_read(path), type=Description)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(path, f"is damaged: {error}") from error
    if description.format != FORMAT:
        raise _damaged(path, f"has format {description.format}, not {FORMAT}")
    if not 1 <= description.cpus <= MAX_CPUS:
        raise _damaged(path, f"has {description.cpus} CPUs")
    return description


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _damaged(path, f"cannot be read: {error.strerror}") from error


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path}: {what}", hint=_HINT)

"""Two builds of many objects: which file goes with which, and which are objects at
all."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lpengine.elf import Image, ObjectWriter, parse_image
from lpengine.elf.constants import ET_REL
from lpengine.errors import ElfError, NotFoundError, NotPermittedError

_ELF_64 = b"\x7fELF\x02"
_ELF = b"\x7fELF"
# Bare, and in its wrapper (llvm/BitstreamWriter.h, "Bitcode Wrapper Format").
_BITCODE = (b"BC\xc0\xde", b"\xde\xc0\x17\x0b")
_ARCHIVES = (b"!<arch>\n", b"!<thin>\n")
# Xen links X.init.o, a copy of X.o in which everything is boot code
# (xen/Rules.mk, cmd_obj_init_o).
_BOOT_COPY = ".init.o"


@dataclass(frozen=True)
class FilePair:
    """One object of two builds. A file that is not there is None: then the other
    build is compared with an empty object."""

    name: str
    original: Path | None
    patched: Path | None

    @cached_property
    def before(self) -> bytes:
        return _read(self.original)

    @cached_property
    def after(self) -> bytes:
        return _read(self.patched)

    @property
    def is_same(self) -> bool:
        return self.before == self.after

    def images(self) -> tuple[Image, Image]:
        """Both builds. ElfError where one is damaged or for another machine."""
        return (
            parse_image(self.before, str(self.original or "<no object>")),
            parse_image(self.after, str(self.patched or "<no object>")),
        )


def pair_files(original: Path, patched: Path) -> tuple[FilePair, ...]:
    """Two files as one pair, or all objects of two directories by their path there.

    Objects of the original that the patched directory lacks count as not rebuilt.
    Raises NotFoundError where there is nothing to compare.
    """
    if original.is_dir() != patched.is_dir():
        raise NotFoundError(
            f"{original} and {patched} are not of one kind",
            hint="give two object files, or two directories of them",
        )
    if not original.is_dir():
        return (FilePair(original.name, _file(original), _file(patched)),)
    before, after = _objects(original), _objects(patched)
    if not after:
        raise NotFoundError(
            f"{patched}: no object file in there", hint="objects are called *.o"
        )
    pairs = [FilePair(name, before.get(name), after[name]) for name in sorted(after)]
    return tuple(_linked(pairs))


def unpaired(original: Path, patched: Path) -> tuple[Path, ...]:
    """The objects of the original that the patched directory does not have."""
    if not original.is_dir():
        return ()
    after = _objects(patched)
    found = _objects(original)
    return tuple(found[name] for name in sorted(found) if name not in after)


def _objects(directory: Path) -> Mapping[str, Path]:
    return {
        path.relative_to(directory).as_posix(): path
        for path in directory.rglob("*.o")
        if path.is_file()
    }


def _linked(pairs: list[FilePair]) -> Iterator[FilePair]:
    """Without what a build makes of other objects."""
    names = {pair.name for pair in pairs}
    for pair in pairs:
        copied = pair.name.removesuffix(".o") + _BOOT_COPY
        if copied in names and not pair.name.endswith(_BOOT_COPY):
            continue
        if not pair.is_same and _is_made_of(pair, names):
            continue
        yield pair


def _is_made_of(pair: FilePair, names: set[str]) -> bool:
    """Whether this is an archive, or linked from others in its directory."""
    if pair.after.startswith(_ARCHIVES):
        return True
    if not pair.after.startswith(_ELF_64):
        return False
    try:
        image = parse_image(pair.after, str(pair.patched))
        if image.header.type != ET_REL:
            return True
        sources = {Path(name).stem for name in image.symbols.sources()} - {""}
    except ElfError:
        return False
    stems = _stems_below(names, Path(pair.name).parent.as_posix())
    return len(sources) > 1 and sources <= stems - {Path(pair.name).stem}


def _stems_below(names: set[str], directory: str) -> set[str]:
    prefix = "" if directory == "." else directory + "/"
    return {Path(name).name.split(".")[0] for name in names if name.startswith(prefix)}


def is_object(data: bytes) -> bool:
    """Whether this looks like an object for the machine in question."""
    return data.startswith(_ELF_64)


def what_else(data: bytes) -> str:
    """What a file is that is no such object."""
    if data.startswith(_ARCHIVES):
        return "is an archive, not one object"
    if data.startswith(_BITCODE):
        return "holds LLVM's intermediate code (-flto), no machine code"
    if data.startswith(_ELF):
        return "is no 64-bit x86 object"
    return "is no object file"


def _file(path: Path) -> Path:
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file")
    return path


def _read(path: Path | None) -> bytes:
    if path is None:
        return ObjectWriter().finish()
    try:
        return path.read_bytes()
    except PermissionError as error:
        raise NotPermittedError(f"{path}: {error.strerror}") from error
    except OSError as error:
        raise NotFoundError(f"{path}: {error.strerror}") from error

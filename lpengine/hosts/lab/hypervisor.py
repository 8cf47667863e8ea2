"""A hypervisor of one's own instead of the distribution's."""

import zlib
from pathlib import Path

from lpengine.errors import InputError, NotFoundError, UsageError

# The first bytes of what QEMU boots, a 32-bit multiboot ELF file, and of xen-syms.
_ELF32, _ELF64 = b"\x7fELF\x01", b"\x7fELF\x02"
_GZIP = b"\x1f\x8b"
_LARGEST = 256 << 20
_SYMBOLS = "xen-syms"


def prepare_hypervisor(built: Path, directory: Path) -> Path:
    """What QEMU can boot of a build's xen or xen.gz; unpacked into `directory` where
    that is needed. NotFoundError and InputError for what is none."""
    try:
        raw = built.read_bytes()
    except OSError as error:
        raise NotFoundError(f"{built}: {error.strerror}") from error
    if raw.startswith(_GZIP):
        raw = _decompressed(raw, built)
        plain = directory / "xen"
        plain.write_bytes(raw)
        built = plain
    if raw.startswith(_ELF64):
        raise InputError(
            f"{built}: cannot be booted: it is the file with the symbols",
            hint="give the xen or xen.gz beside it",
        )
    if not raw.startswith(_ELF32):
        raise InputError(f"{built}: no hypervisor: not a 32-bit ELF file")
    return built.absolute()


def find_symbols(hypervisor: Path, symbols: Path | None) -> Path | None:
    """The build's xen-syms: what was named, or what lies beside it."""
    if symbols is not None:
        if not symbols.is_file():
            raise NotFoundError(f"{symbols}: no such file")
        return symbols.absolute()
    beside = hypervisor.with_name(_SYMBOLS)
    return beside.absolute() if beside.is_file() else None


def require_kind(kind: str, hypervisor: Path | None) -> None:
    if hypervisor is not None and kind != "xen":
        raise UsageError(f"a guest of kind {kind} has no hypervisor")


def _decompressed(raw: bytes, path: Path) -> bytes:
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        data = inflater.decompress(raw, _LARGEST)
    except zlib.error as error:
        raise InputError(f"{path}: damaged: {error}") from error
    if not inflater.eof:
        raise InputError(f"{path}: ends early, or holds more than 256 MiB")
    return data

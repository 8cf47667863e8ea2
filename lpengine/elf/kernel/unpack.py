"""Gets the kernel's ELF file out of a boot image (Documentation/arch/x86/boot.rst)."""

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable

from lpengine.errors import ElfError, InputError

# Far above any kernel; what claims more is a bomb.
LARGEST_KERNEL = 1 << 30
LARGEST_MODULE = 1 << 28
_LZMA_MEMORY = 1 << 30
_ZSTD_WINDOW = 1 << 27
_LZ4_BLOCK = 8 << 20

_ELF = b"\x7fELF"
_SIGNATURE_AT, _SIGNATURE = 0x202, b"HdrS"
_VERSION_AT, _FIRST_WITH_PAYLOAD = 0x206, 0x208
_SECTORS_AT, _SECTOR, _DEFAULT_SECTORS = 0x1F1, 512, 4
_PAYLOAD_AT = 0x248
_SIZE = struct.Struct("<I")


def unpack_kernel(data: bytes, path: str = "<memory>") -> bytes:
    """The uncompressed ELF file in a bzImage; an ELF file is given back as it is.

    Raises ElfError where it is neither, InputError where it cannot be unpacked.
    """
    if data[: len(_ELF)] == _ELF:
        return data
    payload = _payload(data, path)
    unpack = next(
        (each for magic, each in _FORMATS.items() if payload.startswith(magic)), None
    )
    if unpack is None:
        raise InputError(
            f"{path}: the kernel is packed in an unknown way ({payload[:6].hex(' ')})",
            hint="unpack it with the kernel's scripts/extract-vmlinux and name the "
            "result",
        )
    size = _declared_size(payload, path)
    try:
        kernel = unpack(payload, size)
    except Exception as error:  # each library has errors of its own
        raise InputError(f"{path}: the packed kernel is damaged: {error}") from error
    if len(kernel) != size:
        raise InputError(
            f"{path}: the packed kernel is damaged: {len(kernel)} of {size} bytes"
        )
    if kernel[: len(_ELF)] != _ELF:
        raise InputError(f"{path}: what is packed in it is no ELF file")
    return kernel


def unpack_module(data: bytes, path: str) -> bytes:
    """What is in a module's file, which distributions pack in several ways. Raises
    InputError where it cannot be unpacked."""
    unpack = next(
        (each for magic, each in _STREAMS.items() if data.startswith(magic)), None
    )
    if unpack is None:
        return data
    try:
        module = unpack(data, LARGEST_MODULE + 1)
    except Exception as error:  # each library has errors of its own
        raise InputError(f"{path}: the packed module is damaged: {error}") from error
    if len(module) > LARGEST_MODULE:
        raise InputError(f"{path}: holds more than {LARGEST_MODULE >> 20} MiB")
    return module


def is_boot_image(data: bytes) -> bool:
    """Whether it begins like a bzImage that says where its kernel is."""
    return data[_SIGNATURE_AT : _SIGNATURE_AT + 4] == _SIGNATURE


def _payload(data: bytes, path: str) -> bytes:
    if not is_boot_image(data) or len(data) < _PAYLOAD_AT + 8:
        raise ElfError(path, 0, "neither an ELF file nor a Linux boot image")
    (version,) = struct.unpack_from("<H", data, _VERSION_AT)
    if version < _FIRST_WITH_PAYLOAD:
        raise ElfError(path, _VERSION_AT, f"boot protocol {version:#x} is too old")
    start, size = struct.unpack_from("<II", data, _PAYLOAD_AT)
    start += ((data[_SECTORS_AT] or _DEFAULT_SECTORS) + 1) * _SECTOR
    if size < 2 * _SIZE.size or start + size > len(data):
        raise ElfError(path, _PAYLOAD_AT, "the packed kernel ends behind the file")
    return data[start : start + size]


def _declared_size(payload: bytes, path: str) -> int:
    """The kernel's build appends the unpacked size; gzip's own trailer is it, too."""
    (size,) = _SIZE.unpack_from(payload, len(payload) - _SIZE.size)
    if not 0 < size <= LARGEST_KERNEL:
        raise InputError(f"{path}: claims to hold a kernel of {size} bytes")
    return int(size)


def _gzip(payload: bytes, size: int) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(payload, size)


def _bzip2(payload: bytes, size: int) -> bytes:
    return bz2.BZ2Decompressor().decompress(payload, size)


def _xz(payload: bytes, size: int) -> bytes:
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_AUTO, _LZMA_MEMORY)
    return unpacker.decompress(payload, size)


def _zstd(payload: bytes, size: int) -> bytes:
    import zstandard

    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    with unpacker.stream_reader(payload) as stream:
        return stream.read(size)


def _lz4(payload: bytes, size: int) -> bytes:
    """The legacy format: a magic number, then blocks with their packed sizes."""
    import lz4.block

    kernel, at = bytearray(), 4
    while len(kernel) < size:
        (packed,) = _SIZE.unpack_from(payload, at)
        at += _SIZE.size
        block = payload[at : at + packed]
        room = min(_LZ4_BLOCK, size - len(kernel))
        kernel += lz4.block.decompress(block, uncompressed_size=room)
        at += packed
    return bytes(kernel)


_FORMATS: dict[bytes, Callable[[bytes, int], bytes]] = {
    b"\x1f\x8b": _gzip,
    b"BZh": _bzip2,
    b"\x5d\x00\x00": _xz,
    b"\xfd7zXZ\x00": _xz,
    b"\x28\xb5\x2f\xfd": _zstd,
    b"\x02\x21\x4c\x18": _lz4,
}
# What modules are packed with (CONFIG_MODULE_COMPRESS).
_STREAMS = {
    magic: each for magic, each in _FORMATS.items() if each in (_gzip, _xz, _zstd)
}

"""Redirection sets: all sites are installed or none, all taken back or none."""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from typing import Any

from lpengine.core.library import ffi, lib
from lpengine.core.memory import Memory
from lpengine.core.refusals import raise_redirect
from lpengine.errors import UsageError

SAVED_MAX: int = lib.LP_SAVED_MAX
NEAR_JUMP_SIZE: int = lib.LP_NEAR_JUMP
FAR_JUMP_SIZE: int = lib.LP_FAR_JUMP


@dataclass(frozen=True, slots=True)
class Site:
    """One function to redirect.

    `room` is how many bytes from `address` may be overwritten. `target` 0 blanks
    the first `nop_size` bytes instead (an endbr64 among them is kept). `expected`
    is what must be at `address` now, at most `SAVED_MAX` bytes. `far` allows the
    14-byte jump where the 5-byte one does not reach.
    """

    address: int
    target: int
    room: int
    nop_size: int = 0
    expected: bytes = b""
    far: bool = False


@dataclass(frozen=True, slots=True)
class Redirection:
    """An installed site: `installed` replaced `saved` at `site.address + offset`."""

    site: Site
    offset: int
    saved: bytes
    installed: bytes


# struct lp_site as bytes: filling ten thousand of them field by field through
# cffi takes several times as long.
_SITE = Struct(f"<QQIIII{SAVED_MAX}sII{SAVED_MAX}s{SAVED_MAX}s")
_NOT_INSTALLED = (0, 0, b"", b"")


def redirect(memory: Memory, sites: Sequence[Site]) -> tuple[Redirection, ...]:
    """Install all sites, or raise RedirectError and install none."""
    table = bytearray(_SITE.size * len(sites))
    for index, site in enumerate(sites):
        _pack(table, index, site, _NOT_INSTALLED)
    _run_sites(lib.lp_redirect, memory, table)
    return tuple(
        Redirection(site, offset, saved[:size], installed[:size])
        for site, (*_, offset, size, saved, installed) in zip(
            sites, _SITE.iter_unpack(table), strict=True
        )
    )


def take_back(memory: Memory, redirections: Sequence[Redirection]) -> None:
    """Restore all sites, last one first, or raise RedirectError and restore none.

    Every site must still hold the bytes that were installed.
    """
    table = bytearray(_SITE.size * len(redirections))
    for index, done in enumerate(redirections):
        if len(done.saved) != len(done.installed):
            raise UsageError(f"redirection {index}: saved and installed differ in size")
        result = (done.offset, len(done.saved), done.saved, done.installed)
        _pack(table, index, done.site, result)
    _run_sites(lib.lp_take_back, memory, table)


def _pack(
    table: bytearray, index: int, site: Site, result: tuple[int, int, bytes, bytes]
) -> None:
    try:
        _SITE.pack_into(
            table,
            index * _SITE.size,
            site.address,
            site.target,
            site.room,
            site.nop_size,
            len(site.expected),
            lib.LP_SITE_FAR if site.far else 0,
            site.expected,
            *result,
        )
    except StructError as error:
        raise UsageError(f"site {index} at {site.address:#x}: {error}") from error


def _run_sites(function: Any, memory: Memory, table: bytearray) -> None:
    """Call lp_redirect or lp_take_back, and raise what it answers."""
    sites = ffi.from_buffer("struct lp_site[]", table, require_writable=True)
    windows = memory.table
    error = ffi.new("struct lp_error *")
    status = function(windows, len(windows), sites, len(sites), error)
    if status != lib.LP_OK:
        raise_redirect(status, error)

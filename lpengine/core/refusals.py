"""Which exception a status of the C core becomes: one table for each operation."""

from dataclasses import dataclass
from typing import Any, NoReturn

from lpengine.core.library import lib, raise_other
from lpengine.errors import TargetError


@dataclass(frozen=True)
class Refusal:
    """What a status means; `text` may use index, address, value."""

    reason: str
    cause: str
    errno: str
    text: str
    hint: str


_REDIRECT = {
    lib.LP_E_MISMATCH: Refusal(
        "mismatch",
        "expectation-mismatch",
        "EINVAL",
        "the byte at {address:#x} is {value:#04x}, not the expected one",
        "the patch was made for other code, or something else patched this function",
    ),
    lib.LP_E_SIZE: Refusal(
        "size",
        "function-too-small",
        "EINVAL",
        "the function at {address:#x} has no room for the change"
        " ({value} bytes of endbr64 stay)",
        "patch a caller of this function instead",
    ),
    lib.LP_E_OVERLAP: Refusal(
        "overlap",
        "function-twice",
        "EINVAL",
        "the change at {address:#x} shares bytes with that of site {value}",
        "redirect each function once",
    ),
    lib.LP_E_REACH: Refusal(
        "reach",
        "function-out-of-reach",
        "EOVERFLOW",
        "a near jump from {address:#x} does not reach its target",
        "place the new code within 2 GiB, or allow far jumps",
    ),
    lib.LP_E_RANGE: Refusal(
        "range",
        "memory-range",
        "EFAULT",
        "the bytes at {address:#x} are not all in memory that can be patched",
        "check the address against the image's executable segments",
    ),
    lib.LP_E_WRITE: Refusal(
        "write",
        "write-failed",
        "EIO",
        "the byte at {address:#x} reads back as {value:#04x}, all sites are restored",
        "check that no memory is mapped twice",
    ),
}

_RELOCATION = {
    lib.LP_E_OVERFLOW: Refusal(
        "overflow",
        "relocation-overflow",
        "EOVERFLOW",
        "the value {value:#x} does not fit its field at {address:#x}",
        "place the code nearer to what it refers to",
    ),
    lib.LP_E_UNSUPPORTED: Refusal(
        "unsupported",
        "relocation-unsupported",
        "EOPNOTSUPP",
        "type {value} at {address:#x} cannot be done without a linker's tables",
        "compile with -fno-pic -fno-plt -mcmodel=kernel",
    ),
    lib.LP_E_RANGE: Refusal(
        "range",
        "relocation-out-of-section",
        "EINVAL",
        "the place {address:#x} is outside the section",
        "the file is damaged: build it again",
    ),
    lib.LP_E_CORRUPT: Refusal(
        "symbol",
        "relocation-symbol",
        "EINVAL",
        "the one at {address:#x} names a symbol that does not exist",
        "the file is damaged: build it again",
    ),
}


class PlaceError(TargetError):
    """What RedirectError and RelocationError have in common."""

    def __init__(
        self, message: str, refusal: Refusal, *, index: int, address: int
    ) -> None:
        super().__init__(
            message, cause=refusal.cause, errno=refusal.errno, hint=refusal.hint
        )
        self.index = index
        self.address = address
        self.reason = refusal.reason


class RedirectError(PlaceError):
    """A redirection set was refused, and no byte has changed.

    `index` is the site's place in the set, `address` the byte that it is about,
    `reason` one of mismatch, size, overlap, reach, range, write.
    """


class RelocationError(PlaceError):
    """A section cannot be relocated, and no byte has changed.

    `index` is the record's, `address` the place it relocates, `reason` one of
    overflow, unsupported, range, symbol.
    """


def raise_redirect(status: int, error: Any) -> NoReturn:
    """RedirectError for a status of lp_redirect or lp_take_back."""
    _raise(RedirectError, _REDIRECT.get(status), status, "site", error)


def raise_relocation(status: int, error: Any) -> NoReturn:
    """RelocationError for a status of lp_relocate."""
    _raise(RelocationError, _RELOCATION.get(status), status, "relocation", error)


def _raise(
    kind: type[PlaceError], refusal: Refusal | None, status: int, noun: str, error: Any
) -> NoReturn:
    what = f"{noun} {error.index}"
    if refusal is None:
        raise_other(status, what)
    text = refusal.text.format(address=error.address, value=error.value)
    raise kind(f"{what}: {text}", refusal, index=error.index, address=error.address)

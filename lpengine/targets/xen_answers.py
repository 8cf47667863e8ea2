"""What the running Xen's answer means: an errno, and the line it printed about it."""

import errno
import re
from collections.abc import Iterable, Sequence

from lpengine.core.hypercall import Action
from lpengine.errors import BusyError, NotPermittedError, TargetError
from lpengine.patch.model import Patch
from lpengine.patch.xen.refusals import REFUSALS

# What Xen 4.17 prints where a refusal has no errno of its own.
_LINES: tuple[tuple[str, str], ...] = (
    (r"check against hypervisor build-id failed", "xen-build-id-mismatch"),
    (r"check against .* build-id failed", "depends-mismatch"),
    (r"Unknown symbol: ", "unknown-symbol"),
    (r"Could not resolve old address of ", "old-function-not-found"),
    (r"duplicate new symbol: ", "duplicate-symbol"),
    (r"Already loaded as ", "build-id-in-use"),
    (r"Overflow in relocation ", "relocation-overflow"),
    (r"Unhandled relocation ", "relocation-unsupported"),
    (r"Could not allocate memory", "out-of-memory"),
    (r"expectation failed: ", "expectation-mismatch"),
    (r"can't unload\. Top is ", "not-top"),
    (r"can't revert as payload has \.data", "reapply-with-data"),
    (r"not supported on livepatches with vetoing hooks", "replace-vetoing-hooks"),
    (r"hook failed \(rc=", "hook-veto"),
    (r"Timed out on semaphore in ", "quiesce-timeout"),
    (r"Safety checks failed", "waitqueue-active"),
)

# What an errno can only mean there.
_EVERYWHERE = {
    "EPERM": "not-privileged",
    "EACCES": "wrong-interface",
    "ENOSYS": "no-live-patching",
}
_UPLOAD = {
    "ENOENT": "unknown-symbol",
    # Of a symbol it would have spoken.
    "EEXIST": "build-id-in-use",
    "ENOMEM": "out-of-memory",
    "EOVERFLOW": "relocation-overflow",
    "ENODATA": "no-xen-build-id",
    "EINVAL": "xen-build-id-mismatch",
}
_ACTION = {
    "ENOENT": "not-found",
    "EBUSY": "busy",
    "EFAULT": "expectation-no-address",
    "EOVERFLOW": "expectation-too-long",
    "ERANGE": "expectation-beyond-function",
}
_BY_ACTION = {
    (Action.UNLOAD, "EINVAL"): "unload-applied",
    (Action.REPLACE, "EOPNOTSUPP"): "replace-vetoing-hooks",
    (Action.APPLY, "EINVAL"): "depends-mismatch",
    (Action.REPLACE, "EINVAL"): "depends-mismatch",
}
_BUSY = ("busy", "quiesce-timeout", "waitqueue-active")
_PREFIX = "livepatch: "


def said_of(console: bytes, name: str) -> tuple[str, ...]:
    """Xen's own lines about a payload, in order, without its prefixes."""
    lines = console.decode("utf-8", "backslashreplace").splitlines()
    about = (line.partition(_PREFIX)[2] for line in lines if _PREFIX in line)
    return tuple(line for line in about if line.startswith((f"{name}:", f"{name} ")))


def name_of(number: int) -> str:
    """The name that Xen has for it: Linux has two for 95."""
    if number == errno.EOPNOTSUPP:
        return "EOPNOTSUPP"
    return errno.errorcode.get(number, str(number))


def upload_refused(
    patch: Patch, number: int, said: Sequence[str], loaded: Iterable[str]
) -> TargetError:
    """Why an upload failed. Xen is silent about most; what the module breaks, and
    what it does not say, is known beforehand."""
    symbol = name_of(number)
    cause = _EVERYWHERE.get(symbol, "") or _from_lines(said)
    if not cause and symbol == "EEXIST" and patch.name in loaded:
        cause = "name-in-use"
    if not cause:
        broken = (v.cause for v in patch.violations if v.errno == symbol)
        cause = next(broken, "") or _UPLOAD.get(symbol, "")
    return _error(f"{patch.name}: Xen refuses to load it", cause, symbol, said)


def action_refused(
    name: str, action: Action, number: int, said: Sequence[str]
) -> TargetError:
    symbol = name_of(number)
    cause = (
        _EVERYWHERE.get(symbol, "")
        or _from_lines(said)
        or _BY_ACTION.get((action, symbol), "")
        or _ACTION.get(symbol, "hook-veto")
    )
    what = f"{name}: Xen refuses to {action.name.lower()} it"
    return _error(what, cause, symbol, said)


def not_in_state(name: str, action: Action, is_applied: bool) -> TargetError:
    """Xen would answer success and do nothing."""
    state = "applied" if is_applied else "checked"
    return TargetError(
        f"{name}: is {state}, and so there is nothing to {action.name.lower()}",
        cause="wrong-state",
        hint="look with: lpengine status",
    )


def unreachable(error: OSError) -> TargetError | NotPermittedError:
    """The hypervisor cannot be asked at all."""
    symbol = name_of(error.errno or 0)
    if error.errno in (errno.EACCES, errno.EPERM) and error.filename:
        return NotPermittedError(
            f"{error.filename}: {error.strerror}", hint="run as root in dom0"
        )
    if error.filename:
        return TargetError(
            f"{error.filename}: {error.strerror}: no Xen here, or not its dom0",
            cause="no-live-patching",
            errno=symbol,
            hint="run in dom0, with the module xen-privcmd loaded",
        )
    cause = _EVERYWHERE.get(symbol, "")
    return _error("Xen cannot be asked about live patches", cause, symbol, ())


def _from_lines(said: Sequence[str]) -> str:
    for line in reversed(said):
        for pattern, cause in _LINES:
            if re.search(pattern, line):
                return cause
    return ""


def _error(what: str, cause: str, symbol: str, said: Sequence[str]) -> TargetError:
    meaning = REFUSALS[cause].meaning if cause in REFUSALS else ""
    detail = "; ".join(part for part in (meaning, *_telling(said)) if part)
    kind = BusyError if cause in _BUSY else TargetError
    return kind(
        f"{what}: {symbol}" + (f": {detail}" if detail else ""),
        cause=cause,
        errno=symbol,
    )


def _telling(said: Sequence[str]) -> tuple[str, ...]:
    """The last of Xen's lines that is about what went wrong."""
    telling = [
        line for line in said if any(re.search(p, line) for p, _ in _LINES)
    ] or list(said)
    return (f"Xen says: {telling[-1]}",) if telling else ()

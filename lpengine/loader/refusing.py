"""How the loader says no: every refusal under its cause and Xen's errno."""

from collections.abc import Iterable

from lpengine.errors import TargetError
from lpengine.patch.model import Patch
from lpengine.patch.xen.refusals import REFUSALS


def refusal(cause: str, message: str, *, errno: str | None = None) -> TargetError:
    """The error of one refusal; `errno` only where a cause has several. A cause
    that Xen does not refuse (facts of `DEFECTS`) has none."""
    if errno is None:
        errno = REFUSALS[cause].errno if cause in REFUSALS else ""
    return TargetError(message, cause=cause, errno=errno)


def refuse_violations(patch: Patch, causes: Iterable[str]) -> None:
    """Raises the first violation that the real loader answers with an errno and
    whose cause is one of `causes`."""
    wanted = frozenset(causes)
    for violation in patch.violations:
        if violation.errno and violation.cause in wanted:
            raise refusal(
                violation.cause,
                f"{patch.name}: {violation.subject}: {violation.observed},"
                f" needed: {violation.needed}",
                errno=violation.errno,
            )

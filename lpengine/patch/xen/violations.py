"""Collects what is wrong with a payload while it is read."""

from collections import Counter

from lpengine.patch.model import Violation
from lpengine.patch.xen.refusals import DEFECTS, REFUSALS

# More of the same tells a user nothing, and a hostile file has no end of it.
_MOST_OF_ONE_CAUSE = 16
_DEFECT_ORDER = {cause: index for index, cause in enumerate(DEFECTS)}


class Violations:
    """Violations in the order found, which is the order of Xen's own checks."""

    def __init__(self) -> None:
        self._found: list[Violation] = []
        self._counts: Counter[str] = Counter()

    def refuse(
        self,
        cause: str,
        subject: str,
        observed: str,
        needed: str,
        errno: str | None = None,
    ) -> None:
        """Something Xen refuses; `errno` only where it is not the cause's usual."""
        usual = REFUSALS[cause].errno
        self._add(
            Violation(
                cause, usual if errno is None else errno, subject, observed, needed
            )
        )

    def suffer(self, cause: str, subject: str, observed: str, needed: str) -> None:
        """Something Xen takes and suffers from."""
        _ = DEFECTS[cause]
        self._add(Violation(cause, "", subject, observed, needed))

    def _add(self, violation: Violation) -> None:
        self._counts[violation.cause] += 1
        if self._counts[violation.cause] <= _MOST_OF_ONE_CAUSE:
            self._found.append(violation)

    def result(self) -> tuple[Violation, ...]:
        """Refusals first, as Xen would report them, then the defects."""
        found = [v for v in self._found if v.errno]
        for cause, count in self._counts.items():
            if count > _MOST_OF_ONE_CAUSE:
                found += self._rest(cause, count - _MOST_OF_ONE_CAUSE)
        defects = [v for v in self._found if not v.errno]
        defects.sort(key=lambda violation: _DEFECT_ORDER[violation.cause])
        return tuple(found + defects)

    def _rest(self, cause: str, count: int) -> list[Violation]:
        if cause not in REFUSALS:
            return []
        return [
            Violation(
                cause,
                REFUSALS[cause].errno,
                "payload",
                f"{count} more of these",
                "none",
            )
        ]

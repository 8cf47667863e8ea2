"""One row of the prechecks."""

from collections.abc import Iterable
from functools import partial

from lpengine.planner.catalogue import CATALOGUE
from lpengine.planner.catalogue.causes import CODE_OF
from lpengine.planner.updates.order import name_key
from lpengine.planner.updates.plan import CheckStatus, Fix, Group, Precheck


def fine(group: Group, subject: str, text: str) -> Precheck:
    return Precheck(group, subject, CheckStatus.OK, text)


def row(
    status: CheckStatus,
    group: Group,
    subject: str,
    cause: str,
    text: str,
    *,
    remedy: str = "",
    fix: Fix | None = None,
) -> Precheck:
    """Without a remedy of its own it takes the code's."""
    code = CATALOGUE[CODE_OF[cause]]
    return Precheck(
        group=group,
        subject=subject,
        status=status,
        text=text,
        code=code.code,
        cause=cause,
        remedy=remedy or code.remedy,
        fix=fix,
    )


problem = partial(row, CheckStatus.PROBLEM)
warning = partial(row, CheckStatus.WARNING)
information = partial(row, CheckStatus.INFORMATION)


def by_subject(rows: Iterable[Precheck]) -> tuple[Precheck, ...]:
    """In one order, whatever order their subjects were observed in."""
    return tuple(sorted(rows, key=lambda one: (name_key(one.subject), one.text)))


def skipped(group: Group, subject: str, why: str) -> Precheck:
    return Precheck(group, subject, CheckStatus.SKIPPED, f"check skipped: {why}")

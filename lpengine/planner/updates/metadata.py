"""Findings about what an update says of itself, and how such findings are made."""

from collections.abc import Iterator
from dataclasses import replace

from lpengine.package.model import Update
from lpengine.planner.catalogue import CATALOGUE
from lpengine.planner.catalogue.causes import CODE_OF
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import judge
from lpengine.planner.updates.words import is_known


def reason(
    cause: str, update: str, subject: str, observed: str, needed: str = ""
) -> Finding:
    """A finding as grave as its code, with the code's guidance."""
    code = CATALOGUE[CODE_OF[cause]]
    found = judge(
        code.severity, cause, update, subject, observed=observed, needed=needed
    )
    return replace(found, guidance=code.guidance)


def about_metadata(update: Update) -> Iterator[Finding]:
    """Parts that its reader could not rely on, and words that nobody knows, of which
    the reader may have told already."""
    for defect in update.defects:
        observed = f"{defect.where}: {defect.what}"
        yield reason("update-malformed", update.id, defect.component, observed)
    told = {defect.where for defect in update.defects}
    for level, words in update.guidance.items():
        for word in sorted(set(words)):
            if not is_known(word) and f"guidance.{level}" not in told:
                yield reason("guidance-unknown", update.id, str(level), repr(word))

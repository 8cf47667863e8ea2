"""Hooks that authors declare to make up for what is refused."""

from collections.abc import Mapping

from lpengine.diff.changes import Changes
from lpengine.errors import UsageError


def require_hooks(changes: Changes, hooks: Mapping[str, str]) -> None:
    """A hook that is declared to make up for a subject has to be in the fix: a
    UsageError names the one that is not."""
    uses = (
        use
        for each in changes.objects
        for table in each.hooks
        for record in table.records
        for use in record.uses
    )
    known = {use.symbol for use in uses}
    for subject, hook in hooks.items():
        if hook not in known:
            raise UsageError(
                f"the fix has no hook {hook} to make up for {subject}",
                hint="declare it in the source: with LIVEPATCH_LOAD_HOOK and its like, "
                "for Linux with KLP_POST_PATCH and its like",
            )

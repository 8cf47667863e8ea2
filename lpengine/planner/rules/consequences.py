"""What the patch will not let one do later."""

from collections.abc import Iterator

from lpengine.patch.model import Patch
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import warn
from lpengine.planner.situation import Situation, has_action_hooks


def comes_off_again(patch: Patch, situation: Situation) -> Iterator[Finding]:
    if not patch.safe_to_reapply:
        yield warn(
            "not-revertible",
            patch.name,
            "own data",
            observed="it brings writable data: " + ", ".join(own_data(patch)),
            needed="none, to be applied again after a revert",
            remedy="after a revert, unload it and load it again",
            sections=own_data(patch),
        )
    if has_action_hooks(patch):
        yield warn(
            "not-revertible",
            patch.name,
            "action hooks",
            observed="it applies or reverts itself by code of its own",
            needed="redirections that the target can take back by itself",
            remedy="test the revert in emulation before relying on it",
            hooks=[str(hook.kind) for hook in patch.hooks],
        )
    if patch.has_vetoing_hooks and situation.facts.capabilities.replace:
        yield warn(
            "not-revertible",
            patch.name,
            "vetoing hooks",
            observed="it has hooks that may refuse",
            needed="none, to be replaced by a later patch",
            remedy="a later cumulative patch has to revert it first",
            hooks=[str(hook.kind) for hook in patch.hooks if hook.kind.vetoing],
        )


def own_data(patch: Patch) -> list[str]:
    return [
        section.name
        for section in patch.sections
        if section.writable and section.size and section.name != ".livepatch.funcs"
    ]

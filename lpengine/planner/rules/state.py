"""Findings about patches that are on the target already."""

from collections.abc import Sequence

from lpengine.patch.model import Patch
from lpengine.planner.facts import Facts, LoadedPatch
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import block, note, warn
from lpengine.planner.rules.linux_findings import errno_of
from lpengine.planner.situation import Situation


def already_applied(patch: Patch, situation: Situation) -> Finding:
    return note(
        "already-applied",
        patch.name,
        patch.name,
        observed="it is applied",
        remedy="nothing to do",
        stack=list(situation.applied),
        build_id=patch.build_id,
    )


def loads_again(patch: Patch) -> Finding:
    """Xen refuses to apply it again: its data may no longer be what it was."""
    return note(
        "reapply-with-data",
        patch.name,
        patch.name,
        observed="it was reverted and has data of its own",
        needed="fresh data",
        remedy="nothing: the plan unloads it and loads it again",
    )


def stale_reference(user: LoadedPatch, patch: Patch) -> Finding:
    """`user` was resolved against the copy of `patch` that is to be unloaded."""
    return warn(
        "still-needed",
        user.name,
        patch.name,
        observed=f"{user.name} is loaded and was made for {patch.name}",
        needed="no loaded patch that may refer to what is unloaded",
        remedy=f"unload {user.name} as well, and load it again before applying it",
    )


def not_loaded(name: str, facts: Facts) -> Finding:
    names = [one.name for one in facts.loaded]
    return block(
        "not-found",
        name,
        name,
        observed=f"loaded: {', '.join(names) or 'nothing'}",
        needed=f"a loaded patch named {name}",
        remedy="check the name with: lpengine status",
        loaded=names,
    )


def not_on_top(name: str, above: Sequence[str]) -> Finding:
    """`above` has the patches on top of it, topmost first."""
    return block(
        "not-top",
        name,
        name,
        observed=f"on top is {above[0]}",
        needed=f"{name} on top of the stack",
        remedy=f"revert {', '.join(above)} first, or together: "
        f"lpengine revert {' '.join([*above, name])}",
        top=above[0],
        above=list(above),
    )


def not_applied(one: LoadedPatch) -> Finding:
    """The hypervisor would answer success and do nothing."""
    return note(
        "wrong-state",
        one.name,
        one.name,
        observed=f"it is {one.state}",
        needed="applied",
        remedy="nothing to do: it is not applied",
        state=str(one.state),
    )


def buried(patch: Patch, above: Sequence[str]) -> Finding:
    """A replace by something that is applied already: the hypervisor would answer
    success and do nothing."""
    return block(
        "wrong-state",
        patch.name,
        patch.name,
        observed="it is applied, with others in the stack",
        needed="a patch that is not applied",
        remedy=f"revert {', '.join(above)} first, or build a cumulative patch"
        if above
        else "build a cumulative patch that replaces the whole stack",
        above=list(above),
    )


def still_applied(name: str, situation: Situation) -> Finding:
    return block(
        "unload-applied",
        name,
        name,
        observed="it is applied",
        needed="checked: reverted, or never applied",
        remedy=f"revert it first: lpengine revert {name}",
        errno=errno_of("unload-applied", situation),
    )


def needed_by(name: str, users: Sequence[LoadedPatch]) -> Finding:
    """Xen unloads it all the same, and leaves the users with freed symbols."""
    names = [one.name for one in users]
    return warn(
        "still-needed",
        name,
        name,
        observed=f"made for it and loaded: {', '.join(names)}",
        needed="no loaded patch that may refer to it",
        remedy=f"unload {', '.join(names)} first",
        users=names,
    )


def needed_by_applied(name: str, users: Sequence[LoadedPatch]) -> Finding:
    names = [one.name for one in users]
    return block(
        "still-needed",
        name,
        name,
        observed=f"made for it and applied: {', '.join(names)}",
        needed="no applied patch that may refer to it",
        remedy=f"revert {', '.join(names)} first",
        errno="",
        users=names,
    )


def vetoing(name: str, patches: Sequence[str]) -> Finding:
    """Xen: has_payload_any_vetoing_hooks on either side, EOPNOTSUPP."""
    return block(
        "replace-vetoing-hooks",
        name,
        ", ".join(patches),
        observed=f"{', '.join(patches)}: hooks that may refuse",
        needed="no such hooks, neither in the new patch nor in the applied ones",
        remedy="revert what is applied, top first, then apply the patch; between "
        "the two nothing is fixed",
        patches=list(patches),
    )


def hard_to_revert(one: LoadedPatch) -> Finding:
    return warn(
        "not-revertible",
        one.name,
        "action hooks",
        observed="it applies or reverts itself by code of its own",
        needed="redirections that the target can take back by itself",
        remedy="keep a reboot in hand: only its own hook knows how to take it back",
    )

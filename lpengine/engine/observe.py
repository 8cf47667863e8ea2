"""What has to be known of a target to decide about patches."""

from lpengine.errors import NotFoundError
from lpengine.patch.model import Patch
from lpengine.planner.facts import Facts, PatchState
from lpengine.targets.base import Target


def observe(target: Target, patches: tuple[Patch, ...]) -> Facts:
    """Facts that cover the given patches and all that are applied."""
    facts = target.facts(patches)
    known = {patch.name: patch.sha256 for patch in patches}
    applied = [one for one in facts.loaded if one.state is PatchState.APPLIED]
    missing = [one for one in applied if known.get(one.name) != one.sha256]
    modules = [at_hand(target, one.name) for one in missing]
    found = tuple(module for module in modules if module is not None)
    return target.facts((*patches, *found)) if found else facts


def at_hand(target: Target, name: str) -> Patch | None:
    """The module of a loaded patch; None where another program has loaded it and
    the target gives no bytes back."""
    try:
        return target.module(name)
    except NotFoundError:
        return None

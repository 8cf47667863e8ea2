"""What each kind of step does to a target, and what it promises."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import assert_never

from lpengine.engine.stack import Stack
from lpengine.errors import NotFoundError
from lpengine.patch.model import Patch
from lpengine.planner.facts import LoadedPatch, PatchState
from lpengine.planner.plan import Apply, Load, Replace, Revert, Step, Unload
from lpengine.targets.base import Target


def act(
    step: Step, target: Target, patches: Mapping[str, Patch], timeout: timedelta
) -> None:
    """Carry out one step; `patches` has the modules to load, by name."""
    match step:
        case Load(name):
            if name not in patches:
                raise NotFoundError(f"the module of {name} is not at hand")
            target.load(patches[name])
        case Apply(name, nodeps, force):
            target.apply(name, timeout, nodeps=nodeps, force=force)
        case Revert(name, force):
            target.revert(name, timeout, force=force)
        case Replace(name, _, force):
            target.replace(name, timeout, force=force)
        case Unload(name):
            target.unload(name)
        case _:
            assert_never(step)


def promise(start: Stack, steps: Iterable[Step]) -> Stack:
    """The state that the steps lead to from `start`."""
    stack = start
    for step in steps:
        stack = after(stack, step)
    return stack


def after(stack: Stack, step: Step) -> Stack:
    match step:
        case Load(name, sha256):
            return stack.with_loaded(
                LoadedPatch(name, "", "", PatchState.CHECKED, sha256)
            )
        case Apply(name):
            return stack.with_applied((*stack.applied, name))
        case Revert(name):
            return stack.with_applied(without(stack.applied, (name,)))
        case Replace(name, replaced):
            return stack.with_applied((*without(stack.applied, replaced), name))
        case Unload(name):
            return stack.without_loaded(name)
        case _:
            assert_never(step)


def without(names: Iterable[str], gone: Iterable[str]) -> tuple[str, ...]:
    taken = set(gone)
    return tuple(name for name in names if name not in taken)


def touched(steps: Iterable[Step]) -> frozenset[str]:
    """The patches that the steps are about."""
    names: set[str] = set()
    for step in steps:
        names.add(step.name)
        if isinstance(step, Replace):
            names.update(step.replaced)
    return frozenset(names)


def describe(step: Step) -> str:
    """In words: "replace a, b with c", "apply a"."""
    if isinstance(step, Replace) and step.replaced:
        return f"replace {', '.join(step.replaced)} with {step.name}"
    return f"{type(step).__name__.lower()} {step.name}"

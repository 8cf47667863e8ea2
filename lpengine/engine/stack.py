"""What is loaded and applied on a target, as a value that can be compared, kept in
the journal, and returned to."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Self

import msgspec

from lpengine.planner.facts import Facts, LoadedPatch, PatchState
from lpengine.planner.plan import Apply, Load, Revert, Step, Unload


@dataclass(frozen=True)
class Stack:
    """`build_id` and `boot` are the running image's; `loaded` is in load order,
    `applied` names the applied patches, bottom first; `stacking` as in
    Capabilities."""

    build_id: str
    stacking: bool
    loaded: tuple[LoadedPatch, ...]
    applied: tuple[str, ...]
    boot: str = ""

    @classmethod
    def of(cls, facts: Facts) -> Self:
        return cls(
            facts.image.build_id,
            facts.capabilities.stacking,
            facts.loaded,
            facts.applied,
            facts.image.boot,
        )

    def same_boot(self, other: Self) -> bool:
        """Whether no boot lies between the two."""
        return (self.build_id, self.boot) == (other.build_id, other.boot)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """`msgspec.ValidationError` for anything but what `to_json` wrote."""
        return msgspec.json.decode(text, type=cls)

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    def patch(self, name: str) -> LoadedPatch | None:
        return next((patch for patch in self.loaded if patch.name == name), None)

    def with_loaded(self, patch: LoadedPatch) -> Self:
        return replace(self, loaded=(*self.loaded, patch))

    def without_loaded(self, name: str) -> Self:
        return replace(self, loaded=tuple(p for p in self.loaded if p.name != name))

    def with_applied(self, applied: tuple[str, ...]) -> Self:
        """The same patches with exactly these applied."""
        loaded = tuple(
            replace(
                patch,
                state=(
                    PatchState.APPLIED if patch.name in applied else PatchState.CHECKED
                ),
            )
            for patch in self.loaded
        )
        return replace(self, loaded=loaded, applied=applied)

    def only(self, names: Collection[str]) -> Self:
        """What of it is about these patches."""
        return replace(
            self,
            loaded=tuple(patch for patch in self.loaded if patch.name in names),
            applied=tuple(name for name in self.applied if name in names),
        )


def same_module(one: LoadedPatch, other: LoadedPatch) -> bool:
    """Whether two patches of one name are the same bytes, as far as is known."""
    if one.sha256 and other.sha256:
        return one.sha256 == other.sha256
    return not (one.build_id and other.build_id) or one.build_id == other.build_id


def differences(start: Stack, now: Stack) -> dict[str, str]:
    """Patch name -> what differs, in words; empty where nothing does. The order of
    loading is no difference: nothing depends on it."""
    found = {}
    for name in sorted({p.name for p in (*start.loaded, *now.loaded)}):
        was, present = start.patch(name), now.patch(name)
        if was and present and not same_module(was, present):
            found[name] = f"{name} is {standing(present)}, from another module"
        elif standing(was) != standing(present):
            found[name] = f"{name} is {standing(present)}, was {standing(was)}"
    if not found and start.applied != now.applied:
        order = f"{', '.join(now.applied)}; it was {', '.join(start.applied)}"
        found[now.applied[-1]] = f"the stack is, bottom first, {order}"
    return found


def standing(patch: LoadedPatch | None) -> str:
    if patch is None:
        return "not loaded"
    return "applied" if patch.state is PatchState.APPLIED else "loaded, not applied"


def way_back(start: Stack, now: Stack, touched: Collection[str]) -> tuple[Step, ...]:
    """The steps that lead from `now` to `start`, about `touched` patches only.

    It follows from the two states alone, not from what was done between them: it
    is right after any number of steps, and when it was itself broken off.
    """
    kept = common_bottom(start, now)
    reverted = [name for name in reversed(now.applied[kept:]) if name in touched]
    steps: list[Step] = [Revert(name) for name in reverted]
    gone = [patch for patch in now.loaded if patch.name in touched]
    gone = [patch for patch in gone if must_go(start, patch, reverted)]
    steps += [Unload(patch.name, patch.sha256) for patch in reversed(gone)]
    here = {patch.name for patch in now.loaded} - {patch.name for patch in gone}
    steps += [
        Load(patch.name, patch.sha256)
        for patch in start.loaded
        if patch.name in touched and patch.name not in here
    ]
    again = [name for name in start.applied[kept:] if name in touched]
    return (*steps, *(Apply(name, needs_nodeps(start, name)) for name in again))


def common_bottom(start: Stack, now: Stack) -> int:
    """How many applied patches, from the bottom, are the same in both."""
    count = 0
    for one, other in zip(start.applied, now.applied, strict=False):
        was, present = start.patch(one), now.patch(other)
        if one != other or not (was and present and same_module(was, present)):
            break
        count += 1
    return count


def must_go(start: Stack, patch: LoadedPatch, reverted: Collection[str]) -> bool:
    """Whether a loaded patch is none of the start's, or is but is spent: a patch
    with data of its own cannot be applied again once it was reverted (Xen,
    livepatch.c: "can't revert as payload has .data. Please unload")."""
    was = start.patch(patch.name)
    if was is None or not same_module(was, patch):
        return True
    spent = patch.name in reverted or (
        patch.reverted and patch.state is PatchState.CHECKED
    )
    usable_before = was.state is PatchState.APPLIED or not was.reverted
    return spent and usable_before and not was.safe_to_reapply


def needs_nodeps(start: Stack, name: str) -> bool:
    """Whether the patch was applied on something else than it depends on: then it
    was applied without that check, and can only come back that way."""
    index = start.applied.index(name)
    below = start.patch(start.applied[index - 1]) if index else None
    under = below.build_id if below else start.build_id
    patch = start.patch(name)
    return bool(start.stacking and patch and patch.depends and under != patch.depends)

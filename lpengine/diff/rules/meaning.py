"""Types and prototypes: what old and new code would understand differently."""

from collections.abc import Iterator, Sequence

from lpengine.diff import codes
from lpengine.diff.changes import Note, Refusal
from lpengine.diff.layouts import Layout, Member, Types
from lpengine.diff.rules.finding import Found

_SHADOW = "keep the layout and put what is new into shadow data, or {}"


def layouts(old: Types, new: Types) -> Found:
    """Structs and unions of both builds, by where their members are: not by their
    size, which stays when members move and holes are filled."""
    for name, before in old.layouts.items():
        after = new.layouts.get(name)
        if after is not None and before != after:
            yield from _layout(before, after)


def _layout(before: Layout, after: Layout) -> Found:
    if before.size != after.size:
        yield _refused(
            before.name,
            "size-changed",
            f"{before.name} has {after.size} bytes instead of {before.size}"
            f"{_because(before, after)}",
        )
        return
    moved = [each for each in _moved(before.members, after.members)]
    if moved:
        yield _refused(
            before.name, "member-moved", f"{before.name}: {'; '.join(moved)}"
        )
        return
    kept = {member.name for member in before.members}
    for member in after.members:
        if member.name not in kept:
            yield from _added(before, member)
    gone = kept - {member.name for member in after.members}
    for name in sorted(gone):
        yield Note(
            "member-removed",
            before.name,
            f"{before.name}: {name} is not used any more by the patched code",
        )


def _moved(before: Sequence[Member], after: Sequence[Member]) -> Iterator[str]:
    """Members whose bits are elsewhere, or mean something else."""
    places = {member.name: member for member in after}
    for member in before:
        other = places.get(member.name)
        if other is None:
            continue
        if (member.start, member.bits) != (other.start, other.bits):
            yield (f"{member.name} moved from {_place(member)} to {_place(other)}")
        elif member.kind != other.kind:
            yield f"{member.name} was {member.type} and is {other.type}"


def _added(before: Layout, member: Member) -> Found:
    """A new member: in a hole, or where something is that old code uses."""
    over = [
        each
        for each in before.members
        if each.start < member.end and member.start < each.end
    ]
    if not over:
        yield Note(
            "member-in-hole",
            before.name,
            f"{before.name}: {member.name} is new, in a hole at {_place(member)}; of "
            "objects that exist it is what their allocation left there, zero where "
            "that clears",
        )
    elif before.name.startswith("union ") or (
        member.shares and all(each.shares for each in over)
    ):
        yield Note(
            "member-of-union",
            before.name,
            f"{before.name}: {member.name} is a further alternative",
        )
    elif any(
        (o.start, o.bits, o.kind) == (member.start, member.bits, member.kind)
        for o in over
    ):
        yield Note(
            "member-renamed",
            before.name,
            f"{before.name}: {over[0].name} is called {member.name} now",
        )
    else:
        yield _refused(
            before.name,
            "member-overlaps",
            f"{before.name}: {member.name} at {_place(member)} is new and lies over "
            f"{over[0].name}",
        )


def enumerations(old: Types, new: Types) -> Found:
    """Values that old code and stored data have under the same name."""
    for name, value in old.enumerators.items():
        now = new.enumerators.get(name)
        if now is not None and now != value:
            yield _refused(
                name, "enumerator-changed", f"{name} was {value} and is {now}"
            )


def prototypes(old: Types, new: Types, called: frozenset[str]) -> Found:
    """Global functions that are called differently; `called` are those of the object
    that others may call."""
    for name, before in old.prototypes.items():
        after = new.prototypes.get(name)
        if after is None or name not in called or before.shape == after.shape:
            continue
        yield Refusal(
            codes.PROTOTYPE_CHANGED,
            "prototype-changed",
            name,
            f"{before.text} became {after.text}",
            "keep the function as it is and add one under a new name",
        )


def variables(old: Types, new: Types) -> Found:
    """Variables of another type but the same size, which shows nowhere else: code of
    each build takes what the other left there for its own."""
    for key, before in old.variables.items():
        after = new.variables.get(key)
        if after is None or before.shape == after.shape or before.size != after.size:
            continue
        function, name = key
        yield Refusal(
            codes.STATIC_LOST if function else codes.DATA_CHANGED,
            "static-local-retyped" if function else "variable-retyped",
            name,
            f"{name}{f' of {function}' if function else ''} was {before.text} and is "
            f"{after.text}",
            f"leave its type as it is, or {codes.HOOK.format(name)}",
            liftable=True,
        )


def _refused(name: str, cause: str, evidence: str) -> Refusal:
    remedy = _SHADOW.format(codes.HOOK.format(f"'{name}'"))
    return Refusal(codes.LAYOUT_CHANGED, cause, name, evidence, remedy, liftable=True)


def _because(before: Layout, after: Layout) -> str:
    kept = {member.name for member in before.members}
    new = [member.name for member in after.members if member.name not in kept]
    return f": {', '.join(new[:3])} added" if new else ""


def _place(member: Member) -> str:
    byte, bit = divmod(member.start, 8)
    return f"+{byte}.{bit}" if bit or member.bits % 8 else f"+{byte}"

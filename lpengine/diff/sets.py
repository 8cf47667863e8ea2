"""Many pairs of objects that become one patch: each compared by itself, then what
only shows when all are looked at together."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from lpengine.diff import codes
from lpengine.diff.changes import (
    Changes,
    Difference,
    FanOut,
    Note,
    ObjectChanges,
    Refusal,
    Status,
    System,
    Verdict,
)
from lpengine.diff.differ import Options, diff_images
from lpengine.diff.fanout import Inlined, fan_out, inlined_in
from lpengine.diff.pairing import FilePair, is_object, what_else
from lpengine.elf import Image
from lpengine.elf.constants import STT_FUNC

# So many functions do not come to address so many things as far by another fix.
_MANY = 3


@dataclass(frozen=True)
class NamedPair:
    """One object of two builds, open. `overridden` are weak functions of which other
    objects have those that are used."""

    name: str
    original: Image
    patched: Image
    overridden: frozenset[str] = frozenset()


def diff_pairs(
    pairs: Iterable[NamedPair],
    options: Options | None = None,
    others: Sequence[Image] = (),
) -> Changes:
    """What differs between two builds of all these objects, as one patch. `others`
    are the objects that came out the same.

    Raises ElfError where one of the pairs is damaged.
    """
    listed = list(pairs)
    plain = options or Options()
    found = [
        diff_images(
            *(each.name, each.original, each.patched),
            replace(plain, overridden=each.overridden),
        )
        for each in listed
    ]
    return _together(found, listed, others, others_are_stale=False)


def diff_files(
    pairs: Iterable[FilePair],
    options: Options | None = None,
    others: Sequence[Image] = (),
    notify: Callable[[str], None] = lambda name: None,
) -> Changes:
    """The same for files, of which most are the same in both builds and are not
    even opened. What is no object, and differs, is a refusal. `others` are objects
    that were not built again, and neither were files that are the same, as far as
    one can tell.

    Raises ElfError where an object is damaged.
    """
    found: list[ObjectChanges] = []
    opened: list[NamedPair] = []
    same: list[FilePair] = []
    for pair in pairs:
        notify(pair.name)
        if pair.is_same:
            found.append(ObjectChanges(pair.name, Verdict.UNCHANGED))
            same.append(pair)
        elif not (is_object(pair.before) and is_object(pair.after)):
            found.append(_not_comparable(pair))
        else:
            before, after = pair.images()
            opened.append(NamedPair(pair.name, before, after))
            found.append(diff_images(pair.name, before, after, options))
    return _together(found, opened, others, same)


def _together(
    found: list[ObjectChanges],
    pairs: Sequence[NamedPair],
    others: Sequence[Image],
    same: Sequence[FilePair] = (),
    *,
    others_are_stale: bool = True,
) -> Changes:
    found = list(_with_callers(found, pairs, others))
    inlined = _inlined(found, pairs)
    fans: tuple[FanOut, ...] = ()
    if inlined:
        stale = {each.name: each.images()[0] for each in same if is_object(each.before)}
        fresh = {each.name: each.original for each in pairs}
        left = {PurePath(each.path).name: each for each in others}
        (stale if others_are_stale else fresh).update(left)
        fans = tuple(fan_out(inlined, fresh, stale))
    refusals = tuple(
        Refusal(
            codes.INLINED_ELSEWHERE,
            "inlined-elsewhere",
            fan.function,
            f"{fan.function} of {fan.header} is inlined into {len(fan.objects)} "
            f"objects, of which {', '.join(fan.missing[:4])} "
            f"{'was' if len(fan.missing) == 1 else 'were'} not rebuilt",
            "rebuild all objects that include the header, and give them all",
        )
        for fan in fans
        if fan.missing
    )
    suspected = list(_suspected(found))
    return Changes(
        tuple(found),
        (*refusals, *(each for each in suspected if isinstance(each, Refusal))),
        fans,
        tuple(each for each in suspected if isinstance(each, Note)),
    )


def _suspected(found: Sequence[ObjectChanges]) -> Iterator[Refusal | Note]:
    """A struct that changed its layout, seen by what that does to code: many functions
    that only address things further, all as far. Debug information says it better
    where there is any."""
    shifts: dict[int, list[str]] = defaultdict(list)
    places: dict[int, set[int]] = defaultdict(set)
    for each in found:
        if not any(note.cause == "no-debug-information" for note in each.notes):
            continue
        for function in each.functions:
            reason = function.reason
            if reason and reason.kind is Difference.OFFSET:
                shifts[reason.shift].append(function.name)
                places[reason.shift] |= reason.shifted
    for shift, functions in sorted(shifts.items()):
        if len(functions) >= _MANY and len(places[shift]) >= _MANY:
            yield Refusal(
                codes.LAYOUT_CHANGED,
                "layout-suspected",
                f"offset {shift:+#x}",
                f"{len(functions)} functions ({', '.join(functions[:4])}, ...) differ "
                f"only in that they address things {shift:+#x} further: a struct that "
                "they share changed its layout",
                "build both with -g, which tells; keep the layout and put what is new "
                "into shadow data",
            )
        elif len(functions) > 1:
            yield Note(
                "layout-possible",
                f"offset {shift:+#x}",
                f"{', '.join(functions)} differ only in that they address things "
                f"{shift:+#x} further: if that is because a struct changed its layout, "
                "this is no live patch; debug information would tell",
            )


def _inlined(
    found: Sequence[ObjectChanges], pairs: Sequence[NamedPair]
) -> dict[str, Inlined]:
    """The functions of headers whose code changed inside of others."""
    by_name = {pair.name: pair for pair in pairs}
    changed: dict[str, Inlined] = {}
    for each in found:
        pair = by_name.get(each.name)
        if pair is not None and each.verdict is not Verdict.UNCHANGED:
            changed |= inlined_in(each, pair.original, pair.patched)
    return changed


def _with_callers(
    found: Sequence[ObjectChanges], pairs: Sequence[NamedPair], others: Sequence[Image]
) -> Iterator[ObjectChanges]:
    """A changed prototype is no harm where all callers are in the same patch."""
    changed = {
        function.name
        for each in found
        for function in each.functions
        if function.status in (Status.CHANGED, Status.NEW)
    }
    for each in found:
        refusals = tuple(
            refusal
            for refusal in each.refusals
            if refusal.code != codes.PROTOTYPE_CHANGED
            or len(pairs) + len(others) < 2
            or not _all_call_anew(refusal.subject, each, pairs, others, changed)
        )
        if len(refusals) == len(each.refusals):
            yield each
        else:
            verdict = Verdict.REFUSED if refusals else Verdict.CHANGED
            yield replace(each, refusals=refusals, verdict=verdict)


def _all_call_anew(
    name: str,
    owner: ObjectChanges,
    pairs: Sequence[NamedPair],
    others: Sequence[Image],
    changed: set[str],
) -> bool:
    function = owner.function(name)
    if function is None or function.exported or owner.system is System.GENERIC:
        return False
    images = [*(pair.original for pair in pairs), *others]
    return all(user in changed for image in images for user in _users(image, name))


def _users(image: Image, name: str) -> Iterator[str]:
    """The functions of an object that refer to a symbol; "" for anything else."""
    symbols = image.symbols
    wanted = {symbol.index for symbol in symbols.named(name)}
    if not wanted:
        return
    for section in image.sections:
        if not section.allocated:
            continue
        for record in image.relocations(section):
            if record.symbol_index in wanted:
                yield next(
                    (
                        symbol.name
                        for symbol in symbols
                        if symbol.section_index == section.index
                        and symbol.type == STT_FUNC
                        and symbol.value <= record.offset < symbol.value + symbol.size
                    ),
                    "",
                )


def _not_comparable(pair: FilePair) -> ObjectChanges:
    if pair.original is None or pair.patched is None:
        what = "exists in one build only"
    else:
        what = what_else(pair.before if not is_object(pair.before) else pair.after)
    refusal = Refusal(
        codes.NOT_COMPARABLE,
        "not-comparable",
        pair.name,
        f"{pair.name} differs, and {what}",
        "boot the fixed build",
        pair.name,
    )
    return ObjectChanges(pair.name, Verdict.REFUSED, refusals=(refusal,))

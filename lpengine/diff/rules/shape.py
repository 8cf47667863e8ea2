"""Functions that cannot be redirected where they are."""

from collections import Counter

from lpengine.diff import codes
from lpengine.diff.changes import Refusal, System
from lpengine.diff.examine import Pair
from lpengine.diff.object import ObjectFile
from lpengine.diff.redirects import function_size, has_ftrace_site, room_needed
from lpengine.diff.rules.finding import Case, Found
from lpengine.diff.rules.origin import is_stripped
from lpengine.diff.sections import SectionKind
from lpengine.diff.units import Role, Unit

# Mapped where a payload is not, or run before there is anything to call.
_ENTRY = (".text.entry", ".entry.text", ".text.kexec", ".text..__x86", ".text.header")
_REMEDY = "assembly has no redirectable functions here: boot the fixed build"
_STRIPPED = "give both objects as the compiler left them: local symbols were stripped"


def too_short(case: Case) -> Found:
    """A redirect takes a jump of five bytes, behind a landing pad. Linux redirects
    at its ftrace sites instead."""
    if case.system is System.LINUX:
        return
    for pair in _redirected(case):
        size = function_size(pair.old)
        needed = room_needed(case.examination, pair.old)
        if 0 < size < needed:
            yield Refusal(
                codes.TOO_SHORT,
                "function-too-short",
                pair.old.name,
                f"{pair.old.name} has {size} bytes, {needed} are needed for the jump",
                "patch its callers, or build against the image: padding behind it "
                "may do",
            )


def no_ftrace_site(case: Case) -> Found:
    """Linux can only redirect what it traces."""
    if case.system is not System.LINUX:
        return
    for pair in _redirected(case):
        if not has_ftrace_site(case.examination.old, pair.old):
            yield Refusal(
                codes.NOT_PATCHABLE,
                "no-ftrace-site",
                pair.old.name,
                f"{pair.old.name} does not call __fentry__ and is in no table of "
                "ftrace sites",
                "patch its callers; notrace, noinstr and inline functions and "
                "assembly have no site",
            )


def assembly(case: Case) -> Found:
    """Code without function symbols, and code that is entered in other ways than by
    a call."""
    for pair in case.examination.pairs:
        if pair.differing is None or not pair.new.is_code:
            continue
        if pair.new.kind is not SectionKind.CODE:
            continue
        if pair.old.role is Role.CODE or function_size(pair.old) == 0:
            yield _assembly(pair.old, pair.differing.what)
        elif pair.old.section.name.startswith(_ENTRY):
            yield _assembly(pair.old, f"it is in {pair.old.section.name}")
    yield from _nameless_code(case)


def _nameless_code(case: Case) -> Found:
    old, new = case.examination.old_object, case.examination.new_object
    before, after = _nameless(old), _nameless(new)
    pieces: Counter[str] = Counter()
    for (section, _), count in ((before - after) | (after - before)).items():
        pieces[section] += count
    stripped = is_stripped(old) or is_stripped(new)
    for section, count in pieces.items():
        yield Refusal(
            codes.ASSEMBLY_CHANGED,
            "stripped" if stripped else "assembly",
            section,
            f"code without a symbol in {section} changed ({count} pieces)",
            _STRIPPED if stripped else _REMEDY,
        )


def _nameless(object_: ObjectFile) -> Counter[tuple[str, bytes]]:
    return Counter(
        (unit.section.name, object_.bytes_of(unit))
        for unit in object_.units
        if unit.role is Role.CODE and not unit.symbols and unit.kind is SectionKind.CODE
    )


def _assembly(unit: Unit, what: str) -> Refusal:
    return Refusal(
        codes.ASSEMBLY_CHANGED,
        "assembly",
        unit.name,
        f"{unit.name} in {unit.section.name} changed, which no format can carry: "
        f"{what}",
        _REMEDY,
    )


def _redirected(case: Case) -> list[Pair]:
    return [
        pair
        for pair in case.redirects.redirected.values()
        if pair.old.kind is SectionKind.CODE
    ]

"""Variables: their initial values, their sizes, and static locals that got lost."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from lpengine.diff import codes
from lpengine.diff.changes import Difference, Note, Refusal
from lpengine.diff.examine import Pair
from lpengine.diff.names import is_brought, is_static_local, is_text, stem
from lpengine.diff.private import Privacy
from lpengine.diff.rules.finding import Case, Found
from lpengine.diff.sections import SectionKind
from lpengine.diff.units import Role, Unit

_STATEFUL = (SectionKind.DATA, SectionKind.ZERO, SectionKind.PER_CPU)


def changed_data(case: Case) -> Found:
    """Variables that exist in both builds and differ."""
    private = Privacy(case.examination.new.references)
    for pair in case.examination.differing_data:
        if private.holds(pair.new):
            if pair.new.symbols and case.closure.includes(pair.new):
                yield _taken(pair)
        elif pair.new.kind is SectionKind.BOOT_DATA:
            yield from _boot_data(case, pair)
        elif _is_harmless(case, pair):
            yield Note(
                "unread-data",
                pair.old.name,
                f"{pair.old.name} differs; only the loader and debugging tools read it",
            )
        else:
            yield _refused(pair)


def _taken(pair: Pair) -> Note:
    assert pair.differing
    return Note(
        "constant-changed",
        pair.old.name,
        f"constant {pair.old.name} changed ({pair.differing.what}): the functions that "
        "read it are replaced and bring the new one; addresses of the old one that "
        "are stored elsewhere stay",
    )


def _boot_data(case: Case, pair: Pair) -> Found:
    assert pair.differing
    if case.examination.comparer.only_texts_differ(pair.old, pair.new):
        yield Note(
            "boot-text",
            pair.old.name,
            f"a text of {pair.old.name}, which is only used while booting, changed",
        )
        return
    yield codes.boot_only(
        pair.old.name,
        "boot-data",
        f"{pair.old.name} in {pair.old.section.name}, which is only used while "
        f"booting, changed: {pair.differing.what}",
    )


def _is_harmless(case: Case, pair: Pair) -> bool:
    """Read by the loader or by tools alone, or state that a macro keeps for itself."""
    unit = pair.new
    if unit.kind in (SectionKind.REGISTRATION, SectionKind.ONCE):
        return True
    if is_brought(unit.name):
        return True
    users = case.new_referrers.get(unit.number, ())
    return bool(users) and all(u.kind is SectionKind.REGISTRATION for u in users)


def _refused(pair: Pair) -> Refusal:
    assert pair.differing
    name, section = pair.old.name, pair.old.section.name
    if pair.differing.kind is Difference.SIZE:
        return codes.data_changed(
            name, "object-size", f"{name} in {section}: {pair.differing.what}"
        )
    place = f" at +{pair.differing.before:#x}" if pair.differing.before > 0 else ""
    return codes.data_changed(
        name,
        "initial-data",
        f"the initial value of {name} in {section} changed{place}: "
        f"{pair.differing.what}",
    )


def lost_statics(case: Case) -> Found:
    """Static locals of the original that have no twin: what they hold would be lost,
    or another one's be used in their place."""
    examination = case.examination
    new_by_stem = _by_stem(examination.added)
    names = examination.old_object.function_names
    for unit in examination.gone:
        if unit.role is not Role.VARIABLE or unit.kind is SectionKind.REGISTRATION:
            continue
        if not case.old_referrers.get(unit.number):
            continue
        if not is_static_local(unit.name, names):
            if unit.kind in _STATEFUL:
                yield Note(
                    "removed-data", unit.name, f"{unit.name} is not used any more"
                )
        elif unit.kind not in _STATEFUL or is_brought(unit.name):
            if not is_text(unit.name) and not unit.is_constant:
                yield Note(
                    "removed-once",
                    unit.name,
                    f"{unit.name}, which only says "
                    "whether something was said already, is gone",
                )
        else:
            yield _lost(unit, new_by_stem.get(_key(unit), []))


def _lost(unit: Unit, candidates: Sequence[Unit]) -> Refusal:
    if len(candidates) > 1:
        listed = ", ".join(_described(each) for each in candidates)
        return Refusal(
            codes.SYMBOL_AMBIGUOUS,
            "static-local-ambiguous",
            unit.name,
            f"static local {_described(unit)} could be any of {listed}",
            "give the variables names of their own in the fix",
        )
    if candidates:
        evidence = f"{_described(unit)} became {_described(candidates[0])}"
    else:
        evidence = f"{_described(unit)} is gone from the patched build"
    return Refusal(
        codes.STATIC_LOST,
        "static-local-retyped" if candidates else "static-local-removed",
        unit.name,
        f"static local {evidence}: what it holds would be lost",
        f"leave it as it is, or {codes.HOOK.format(unit.name)}",
        liftable=True,
    )


def _described(unit: Unit) -> str:
    return f"{unit.name} ({unit.size} bytes in {unit.section.name})"


def _key(unit: Unit) -> tuple[str, str]:
    return unit.file, stem(unit.name).text


def _by_stem(units: Sequence[Unit]) -> dict[tuple[str, str], list[Unit]]:
    found: dict[tuple[str, str], list[Unit]] = defaultdict(list)
    for unit in units:
        if unit.role is Role.VARIABLE and unit.kind in _STATEFUL:
            found[_key(unit)].append(unit)
    return found


def new_data(case: Case) -> Found:
    """Variables that the patched build adds."""
    for unit in case.examination.added:
        if unit.kind is SectionKind.PER_CPU and unit.role is not Role.CODE:
            yield Refusal(
                codes.PER_CPU_ADDED,
                "per-cpu-data",
                unit.name,
                f"{unit.name}, {unit.size} bytes in {unit.section.name}, is storage "
                "of its own for each CPU or thread",
                "use an array indexed by CPU, or one variable",
            )


def added_variables(case: Case) -> Iterator[str]:
    """The names of the variables and constants a payload brings that the original
    does not have."""
    for unit in case.closure.included():
        listed = unit.number in case.closure.indexed
        if unit.role is Role.VARIABLE and not is_text(unit.name) and not listed:
            yield unit.name

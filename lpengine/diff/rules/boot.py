"""Code that has run when the machine booted, and does not run again."""

from lpengine.diff import codes
from lpengine.diff.changes import Note
from lpengine.diff.examine import Pair
from lpengine.diff.references import References, is_call
from lpengine.diff.rules.finding import Case, Found
from lpengine.diff.sections import SectionKind
from lpengine.diff.units import Unit

_BOOT = (SectionKind.BOOT_CODE, SectionKind.REGISTRATION)
# What reads these calls what it finds there, once.
_INITCALLS = (".initcall", ".con_initcall", ".security_initcall", ".xsm_initcall")


def boot_code(case: Case) -> Found:
    """Changed code in init sections."""
    for pair in case.examination.pairs:
        if pair.new.is_code and pair.new.kind is SectionKind.BOOT_CODE:
            yield from _boot_pair(case, pair)
    for unit in case.examination.added:
        if unit.kind is SectionKind.BOOT_CODE and unit.symbols:
            yield Note(
                "boot-function-added",
                unit.name,
                f"{unit.name} in "
                f"{unit.section.name} is new and will not run before a boot",
            )


def _boot_pair(case: Case, pair: Pair) -> Found:
    if pair.differing is None or case.examination.is_declared(pair):
        return
    name, section = pair.old.name, pair.old.section.name
    if pair.old.kind is not SectionKind.BOOT_CODE:
        yield codes.boot_only(
            name, "became-boot-code", f"{name} moved from {section} to boot code"
        )
    elif case.examination.is_boot_text(pair):
        yield Note(
            "boot-text",
            name,
            f"a text that {name} in {section} uses changed; it is seen after a boot",
        )
    else:
        yield codes.boot_only(
            name,
            "boot-code",
            f"{name} in {section} does not run again: {pair.differing.what}",
        )


def initcalls(case: Case) -> Found:
    """Functions that the boot calls in one of the builds alone."""
    match = case.examination.match
    before = _called_by_the_boot(case.examination.old.references)
    after = _called_by_the_boot(case.examination.new.references)
    kept = {match.forward[each].number for each in before if each in match.forward}
    for number, unit in after.items():
        if number not in kept:
            yield codes.boot_only(
                unit.name,
                "initcall-added",
                f"{unit.name} is for the boot to call, which does not happen again",
            )
    for number, unit in before.items():
        twin = match.forward.get(number)
        if twin is None or twin.number not in after:
            yield codes.boot_only(
                unit.name,
                "initcall-removed",
                f"the boot has called {unit.name}, and what it did stays done",
            )


def _called_by_the_boot(side: References) -> dict[int, Unit]:
    return {
        each.unit.number: each.unit
        for unit in side.object.units
        if _is_initcall(unit)
        for each in side.of(unit)
        if each.unit is not None and each.unit.is_code
    }


def _is_initcall(unit: Unit) -> bool:
    return unit.section.name.startswith(_INITCALLS)


def only_called_at_boot(case: Case) -> Found:
    """Changed functions that nothing leads to but boot code, as far as this object
    tells: their effect was at boot."""
    for pair in case.examination.differing_code.values():
        if pair.new.kind is not SectionKind.CODE or pair.old.is_global:
            continue
        if _is_boot_only(case, pair.old):
            yield codes.boot_only(
                pair.old.name,
                "called-at-boot",
                f"{pair.old.name} is called by boot code alone",
            )


def _is_boot_only(case: Case, unit: Unit) -> bool:
    seen: set[int] = set()
    waiting, reached = [unit], False
    while waiting:
        at = waiting.pop()
        for user in case.old_referrers.get(at.number, ()):
            if not _only_calls(case, user, at):
                return False
            if user.kind in _BOOT:
                reached = True
            elif user.number not in seen:
                if user.is_global or not case.old_referrers.get(user.number):
                    return False
                seen.add(user.number)
                waiting.append(user)
    return reached


def _only_calls(case: Case, user: Unit, unit: Unit) -> bool:
    """Whether one function calls the other and does not hand out its address. What
    reads tables of initcalls calls them while booting."""
    if user.kind is SectionKind.REGISTRATION:
        return _is_initcall(user)
    side = case.examination.old.references
    code = side.object.bytes_of(user)
    return user.is_code and all(
        is_call(code, each) for each in side.of(user) if each.unit is unit
    )

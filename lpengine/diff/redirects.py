"""Which functions get redirected: those that changed, or where that cannot be, those
that call them."""

from dataclasses import dataclass

from lpengine.arch.x86 import starts_with_endbr
from lpengine.diff.changes import Difference, System
from lpengine.diff.compare import Differing
from lpengine.diff.examine import Examination, Pair
from lpengine.diff.match import referrers
from lpengine.diff.records import FTRACE_SITES
from lpengine.diff.references import References, is_call
from lpengine.diff.sections import SectionKind
from lpengine.diff.tables import Tables
from lpengine.diff.units import Role, Unit

_JUMP, _ENDBR = 5, 4
_ENTRY_CALLS = ("__fentry__", "mcount")


@dataclass(frozen=True)
class Redirects:
    """Pairs by the number of the patched build's unit. `redirected` are to be
    entered anew; `carried` changed as well, cannot be redirected where they are, and
    come along with all that call them."""

    redirected: dict[int, Pair]
    carried: dict[int, Pair]


def redirects_of(examination: Examination, system: System) -> Redirects:
    """What to redirect. A function that cannot be, is known in this object alone and
    only ever called makes its callers changed functions."""
    redirected = dict(examination.differing_code)
    carried: dict[int, Pair] = {}
    waiting = [
        p for p in redirected.values() if not is_redirectable(p, examination, system)
    ]
    if waiting:
        users = _Users(examination)
        while waiting:
            pair = waiting.pop()
            callers = users.callers_of(pair)
            if callers is None:
                continue
            carried[pair.new.number] = redirected.pop(pair.new.number)
            for caller in callers:
                number = caller.new.number
                if number not in redirected and number not in carried:
                    redirected[number] = _because(caller, pair)
                    if not is_redirectable(caller, examination, system):
                        waiting.append(redirected[number])
    return Redirects(redirected, carried)


def is_redirectable(pair: Pair, examination: Examination, system: System) -> bool:
    """Whether the original of a function can be entered anew. What has no size is
    judged elsewhere."""
    if pair.old.kind is not SectionKind.CODE:
        return True
    if system is System.LINUX:
        return has_ftrace_site(examination.old, pair.old)
    size = function_size(pair.old)
    return size == 0 or size >= room_needed(examination, pair.old)


def room_needed(examination: Examination, unit: Unit) -> int:
    """How many bytes a redirect takes: a jump, behind a landing pad."""
    return _JUMP + _ENDBR * has_endbr(examination, unit)


def function_size(unit: Unit) -> int:
    """What the function's symbol says, without what stands in front of it."""
    symbol = unit.symbol
    return symbol.size if symbol else 0


def has_endbr(examination: Examination, unit: Unit) -> bool:
    code = examination.old_object.bytes_of(unit)
    return starts_with_endbr(code[unit.entry : unit.entry + _ENDBR])


def has_ftrace_site(tables: Tables, unit: Unit) -> bool:
    """Whether ftrace can be had to redirect this function."""
    records = tables.by_owner.get(unit.number, ())
    if any(record.section in FTRACE_SITES for record in records):
        return True
    references = tables.references.of(unit)
    if any(each.name in _ENTRY_CALLS for each in references):
        return True
    marks = tables.references.object.marks_of(unit)
    return any(name in _ENTRY_CALLS for name in marks)


class _Users:
    """Who refers to the functions of both builds."""

    def __init__(self, examination: Examination) -> None:
        self._examination = examination
        self._old = referrers(examination.old.references)
        self._new = referrers(examination.new.references)

    def callers_of(self, pair: Pair) -> list[Pair] | None:
        """The functions that call this one in the patched build, cold parts as their
        functions; None where it is also used in another way, or from elsewhere."""
        if pair.old.is_global or pair.new.is_global:
            return None
        sides = (
            (self._examination.old.references, pair.old, self._old),
            (self._examination.new.references, pair.new, self._new),
        )
        if not all(self._is_only_called(*side) for side in sides):
            return None
        found = [self._caller(user) for user in self._new.get(pair.new.number, ())]
        known = [each for each in found if each is not None]
        return known or None

    def _is_only_called(
        self, side: References, unit: Unit, users: dict[int, list[Unit]]
    ) -> bool:
        for user in users.get(unit.number, ()):
            if user.role is not Role.FUNCTION:
                return False
            code = side.object.bytes_of(user)
            uses = (each for each in side.of(user) if each.unit is unit)
            if not all(is_call(code, each) for each in uses):
                return False
        return True

    def _caller(self, user: Unit) -> Pair | None:
        """The pair of a caller: none of boot code, which has run, nor of a function
        that is new and comes along anyway."""
        function = self._examination.parents.get(user.number, user)
        pair = self._examination.by_new.get(function.number)
        if pair is None or pair.new.kind is not SectionKind.CODE:
            return None
        return pair


def _because(caller: Pair, pair: Pair) -> Pair:
    what = f"it calls {pair.old.name}, which changed and cannot be redirected"
    return Pair(caller.old, caller.new, Differing(Difference.CALLEE, -1, -1, what))

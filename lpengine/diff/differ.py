"""One pair of objects in, all that differs out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from lpengine.diff.changes import (
    Difference,
    FunctionChange,
    Lifted,
    Note,
    ObjectChanges,
    Reason,
    Refusal,
    Status,
    System,
    Verdict,
)
from lpengine.diff.closure import Closure
from lpengine.diff.debugging import Debugging
from lpengine.diff.examine import Examination, Pair
from lpengine.diff.linemap import LineMap
from lpengine.diff.listing import code_of, first_row
from lpengine.diff.object import ObjectFile
from lpengine.diff.redirects import has_endbr, has_ftrace_site, redirects_of
from lpengine.diff.rules import boot, data, meaning, origin, shape, symbols, tables
from lpengine.diff.rules.finding import Case, Found
from lpengine.diff.sections import SectionKind
from lpengine.diff.system import system_of
from lpengine.diff.units import Unit
from lpengine.elf import Image

_RULES: tuple[Callable[[Case], Found], ...] = (
    origin.intermediate,
    origin.compiler,
    boot.boot_code,
    boot.initcalls,
    boot.only_called_at_boot,
    data.changed_data,
    data.lost_statics,
    data.new_data,
    shape.too_short,
    shape.no_ftrace_site,
    shape.assembly,
    tables.unknown_sections,
    tables.keys_of_modules,
    symbols.ambiguous,
    symbols.unresolved,
    symbols.exports,
    symbols.parameters,
    symbols.common,
    symbols.declared,
    symbols.overridden,
)
_MODULE = (".gnu.linkonce.this_module", "__this_module")
_IMPORTS = b"import_ns="
_EXPORTS = ("__ksymtab_", "__kstrtab_")


@dataclass(frozen=True)
class Options:
    """What else is known. `line_map` is of the patch itself. `system` and
    `is_module` are told from the object where they are None. `hooks` are what the
    author declares: the subject of a refusal, and the hook that lifts it.
    `overridden` are weak functions of which another object has the one that is
    used."""

    line_map: LineMap | None = None
    system: System | None = None
    is_module: bool | None = None
    hooks: Mapping[str, str] = field(default_factory=dict)
    overridden: frozenset[str] = frozenset()


def diff_images(
    name: str, original: Image, patched: Image, options: Options | None = None
) -> ObjectChanges:
    """What differs between two builds of an object.

    Raises ElfError where one of them is damaged or no relocatable object.
    """
    options = options or Options()
    old, new = ObjectFile(original), ObjectFile(patched)
    system = options.system or system_of(old, new)
    if original.data == patched.data:
        return ObjectChanges(name, Verdict.UNCHANGED, system)
    return _Differ(name, old, new, system, options).differ()


class _Differ:
    def __init__(
        self,
        name: str,
        old: ObjectFile,
        new: ObjectFile,
        system: System,
        options: Options,
    ) -> None:
        self._name = name
        self._options = options
        self._system = system
        self._debug = Debugging(old, new)
        lines = self._debug.lines(options.line_map)
        self._examination = Examination(old, new, lines, options.overridden)
        self._redirects = redirects_of(self._examination, system)
        self._closure = Closure(self._examination, self._redirects)

    def differ(self) -> ObjectChanges:
        self._closure.grow()
        found = list(dict.fromkeys(self._found()))
        refusals = [each for each in found if isinstance(each, Refusal)]
        standing, lifted = self._lift(refusals)
        functions = tuple(_without_lifted(self._functions(), lifted))
        return ObjectChanges(
            self._name,
            self._verdict(functions, standing),
            self._system,
            functions,
            tuple(data.added_variables(self._case)),
            self._closure.pieces,
            self._closure.tables,
            self._closure.hooks,
            standing,
            lifted,
            tuple(each for each in found if isinstance(each, Note)),
            tuple(self._metadata()),
        )

    def _metadata(self) -> Iterator[str]:
        section = self._examination.new_object.image.section(".modinfo")
        if section is None or not self._closure.pieces:
            return
        data = self._examination.new_object.data(section)
        for text in data.split(b"\0"):
            if text.startswith(_IMPORTS):
                yield text.decode(errors="replace")

    @cached_property
    def _case(self) -> Case:
        return Case(
            self._examination,
            self._closure,
            self._redirects,
            self._system,
            self._is_module(),
        )

    def _found(self) -> Iterator[Refusal | Note]:
        case = self._case
        for found in (*(rule(case) for rule in _RULES), self._meaning(case)):
            for each in found:
                if isinstance(each, Refusal):
                    each = replace(each, object=self._name)
                yield each

    def _meaning(self, case: Case) -> Found:
        """What types mean is only asked where code changes."""
        if not case.examination.differing_code:
            return
        yield from self._debug.notes()
        types = self._debug.types()
        if types is not None:
            called = frozenset(
                symbol.name
                for unit in case.examination.old_object.functions
                for symbol in unit.symbols
                if not symbol.is_local
            )
            yield from meaning.layouts(*types)
            yield from meaning.enumerations(*types)
            yield from meaning.variables(*types)
            yield from meaning.prototypes(*types, called)

    def _is_module(self) -> bool:
        if self._options.is_module is not None:
            return self._options.is_module
        object_ = self._examination.new_object
        sections = (section.name for section in object_.image.sections)
        return any(name in _MODULE for name in sections) or any(
            symbol.is_undefined and symbol.name in _MODULE for symbol in object_.symbols
        )

    def _lift(
        self, refusals: list[Refusal]
    ) -> tuple[tuple[Refusal, ...], tuple[Lifted, ...]]:
        standing, lifted = [], []
        for each in refusals:
            hook = self._options.hooks.get(each.subject)
            if each.liftable and hook:
                lifted.append(Lifted(each, hook))
            else:
                standing.append(each)
        return tuple(standing), tuple(lifted)

    def _verdict(
        self, functions: tuple[FunctionChange, ...], refusals: tuple[Refusal, ...]
    ) -> Verdict:
        if refusals:
            return Verdict.REFUSED
        changed = any(f.status in (Status.CHANGED, Status.NEW) for f in functions)
        if changed or self._closure.hooks or self._has_new_globals():
            return Verdict.CHANGED
        return Verdict.UNCHANGED

    def _has_new_globals(self) -> bool:
        """Whether there are variables that other objects may come to use."""
        return any(
            unit.is_global and unit.kind in (SectionKind.DATA, SectionKind.ZERO)
            for unit in self._examination.added
        )

    def _functions(self) -> Iterator[FunctionChange]:
        examination = self._examination
        for unit in examination.old_object.functions:
            pair = examination.by_old.get(unit.number)
            if pair is None or pair.new.number in examination.parents:
                continue
            carried = self._redirects.carried.get(pair.new.number)
            if carried is not None:
                yield self._carried(carried)
            else:
                yield self._matched(pair)
        for unit in examination.new_functions:
            yield self._new(unit)
        for unit in examination.gone_functions:
            yield self._gone(unit)

    def _matched(self, pair: Pair) -> FunctionChange:
        examination = self._examination
        changed = self._redirects.redirected.get(pair.new.number)
        piece = self._closure.places.get(pair.new.number)
        found = FunctionChange(
            pair.old.name,
            Status.SAME if changed is None else Status.CHANGED,
            pair.old.file,
            pair.new.name,
            self._closure.original_of(pair.old),
            piece,
            is_global=pair.old.is_global,
            exported=self._is_exported(pair.old),
            has_ftrace_site=has_ftrace_site(examination.old, pair.old),
            starts_with_endbr=has_endbr(examination, pair.old),
        )
        if changed is None:
            return found
        before = code_of(examination.old.references, pair.old)
        after = code_of(examination.new.references, pair.new)
        return replace(
            found,
            entry=pair.new.entry,
            children=self._children(pair.new),
            reason=self._reason(changed),
            before=before,
            after=after,
        )

    def _children(self, unit: Unit) -> tuple[str, ...]:
        children = self._examination.children.get(unit.number, ())
        return tuple(each.name for each in children)

    def _reason(self, pair: Pair) -> Reason:
        differing = pair.differing
        assert differing
        if differing.kind in (Difference.CHILD, Difference.CALLEE):
            return Reason(differing.kind, differing.what)
        before = code_of(self._examination.old.references, pair.old)
        after = code_of(self._examination.new.references, pair.new)
        first = first_row(before, after, (differing.before, differing.after))
        if differing.kind is Difference.CODE:
            shift = self._examination.comparer.shift(pair.old, pair.new)
            if shift is not None:
                text = f"it addresses what it did, {shift.by:+#x} further"
                kind = Difference.OFFSET
                return Reason(kind, text, first, shift.by, shift.places)
        return Reason(differing.kind, differing.what, first)

    def _carried(self, pair: Pair) -> FunctionChange:
        """A function that changed, or calls one that did, and comes along as if it
        were new."""
        assert pair.differing
        text = f"{pair.differing.what}; its callers are redirected"
        return replace(
            self._new(pair.new),
            reason=Reason(pair.differing.kind, text),
            before=code_of(self._examination.old.references, pair.old),
        )

    def _new(self, unit: Unit) -> FunctionChange:
        return FunctionChange(
            unit.name,
            Status.NEW,
            unit.file,
            unit.name,
            piece=self._closure.places.get(unit.number),
            entry=unit.entry,
            children=self._children(unit),
            reason=Reason(Difference.NEW, "the original has no such function"),
            is_global=unit.is_global,
            after=code_of(self._examination.new.references, unit),
        )

    def _gone(self, unit: Unit) -> FunctionChange:
        return FunctionChange(
            unit.name,
            Status.GONE,
            unit.file,
            original=self._closure.original_of(unit),
            reason=Reason(Difference.GONE, "the patched build has no such function"),
            is_global=unit.is_global,
            exported=self._is_exported(unit),
            before=code_of(self._examination.old.references, unit),
        )

    def _is_exported(self, unit: Unit) -> bool:
        names = {symbol.name for symbol in unit.symbols}
        return any(
            prefix + name in self._exports for prefix in _EXPORTS for name in names
        )

    @cached_property
    def _exports(self) -> frozenset[str]:
        object_ = self._examination.old_object
        return frozenset(s.name for s in object_.symbols if s.name.startswith(_EXPORTS))


def _without_lifted(
    functions: Iterator[FunctionChange], lifted: Sequence[Lifted]
) -> Iterator[FunctionChange]:
    """Boot code that a hook stands in for is left as it was."""
    subjects = {each.refusal.subject for each in lifted}
    for each in functions:
        left = each.status is Status.CHANGED and each.piece is None
        if left and each.name in subjects:
            yield replace(each, status=Status.SAME, reason=None)
        else:
            yield each

"""References that lead nowhere, or to several."""

from collections.abc import Iterable, Iterator

from lpengine.diff import codes
from lpengine.diff.changes import Note, Refusal
from lpengine.diff.object import ObjectFile
from lpengine.diff.rules.finding import Case, Found
from lpengine.diff.sections import SectionKind
from lpengine.diff.units import Unit

_EXPORT = "__ksymtab_"
# module_param of Linux (include/linux/moduleparam.h, __module_param_call).
_PARAMETER = "__param_"


def ambiguous(case: Case) -> Found:
    """Variables that included code uses and that could be any of several."""
    for name, candidates in case.closure.contested.items():
        listed = ", ".join(sorted(set(candidates)))
        yield Refusal(
            codes.SYMBOL_AMBIGUOUS,
            "variable-ambiguous",
            name,
            f"{name} of the patched build could be any of {listed} of the original: "
            "functions that did not change disagree",
            "give the variables names of their own in the fix",
        )


def unresolved(case: Case) -> Found:
    for each in case.closure.unresolved:
        yield Refusal(
            codes.SYMBOL_MISSING,
            "reference-unresolved",
            each.unit,
            f"{each.unit} refers to {each.symbol}: {each.what}",
            "report it: the object is of a kind not seen before",
        )


def exports(case: Case) -> Found:
    """Exports are read when the image or module is loaded."""
    for name in _registered(case.examination.added, _EXPORT):
        yield Note(
            "export-added",
            name,
            f"{name} is exported by the patched build "
            "only; a live patch exports nothing",
        )
    for name in _registered(case.examination.gone, _EXPORT):
        yield Note(
            "export-removed",
            name,
            f"{name} stays exported: modules may be using it",
        )


def parameters(case: Case) -> Found:
    """Parameters are read when the image or module is loaded, too."""
    for name in _registered(case.examination.added, _PARAMETER):
        yield Note(
            "parameter-added",
            name,
            f"{name} is a parameter of the patched build only; a live patch "
            "has none, and its variable keeps the value that it begins with",
        )


def _registered(units: Iterable[Unit], prefix: str) -> Iterator[str]:
    """What units of that prefix tell the kernel of, by name."""
    for unit in units:
        if unit.kind is SectionKind.REGISTRATION and unit.name.startswith(prefix):
            yield unit.name.removeprefix(prefix)


def declared(case: Case) -> Found:
    """What the patched source itself says to leave out."""
    for pair in case.examination.pairs:
        if pair.differing is not None and case.examination.is_declared(pair):
            yield Note(
                "ignored-by-declaration",
                pair.old.name,
                f"{pair.old.name} "
                "differs; the patched source says to leave it as it was",
            )


def overridden(case: Case) -> Found:
    """Weak functions that nobody calls."""
    for pair in case.examination.pairs:
        if pair.differing is not None and case.examination.is_overridden(pair):
            yield Note(
                "overridden",
                pair.old.name,
                f"{pair.old.name} differs, but is weak: another object's is used",
            )


def common(case: Case) -> Found:
    """Variables that have no section: compilers before gcc 10 left them to the
    linker."""
    before = _common(case.examination.old_object)
    for name, size in _common(case.examination.new_object).items():
        if name not in before:
            yield Refusal(
                codes.SYMBOL_KIND,
                "common-symbol",
                name,
                f"{name}, {size} bytes, is a common symbol, which no loader takes",
                "compile with -fno-common",
            )
        elif before[name] != size:
            yield codes.data_changed(
                name, "object-size", f"{name}: {before[name]} bytes became {size}"
            )


def _common(object_: ObjectFile) -> dict[str, int]:
    return {s.name: s.size for s in object_.symbols if s.is_common}

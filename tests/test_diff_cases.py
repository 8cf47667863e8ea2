"""What differs between two builds: the pairs of fixtures/diff against the answers
that stand in their cases, from gcc and from clang."""

import pytest

from tests.diff_cases import COMPILERS, Case, bound, called, cases, differed, stems

PAIRS = [
    pytest.param(case, compiler, id=f"{case.name}-{compiler}")
    for case in cases()
    for compiler in COMPILERS
    if compiler in case.compilers()
]
# The fast run has debug information from one compiler and none from the other.
DEBUG = {"gcc": (), "clang": ("-g",)}
OTHER_WAY_ROUND = {"gcc": ("-g",), "clang": ()}


def check(case: Case, compiler: str, more: tuple[str, ...]) -> None:
    promised = case.promised | case.promised.get(compiler, {})
    if promised.get("debug", False) and "-gbtf" not in more:
        more = ("-g",)
    changes = differed(case, compiler, more)
    told = f"{changes.refusals}\n{changes.notes}\n{changes.changed_functions}"
    assert str(changes.verdict) == promised["verdict"], told
    assert stems(changes.changed_functions) == sorted(promised.get("changed", [])), told
    assert stems(changes.new_functions) == sorted(promised.get("new", [])), told
    assert stems(changes.new_data) == sorted(promised.get("new_data", [])), told
    codes = sorted({refusal.code for refusal in changes.refusals})
    assert codes == sorted(promised.get("codes", [])), told
    if "causes" in promised:
        causes = sorted(refusal.cause for refusal in changes.refusals)
        assert causes == sorted(promised["causes"]), told
    for function, kind in promised.get("reason", {}).items():
        found = changes.function(function)
        assert found
        assert found.reason
        assert str(found.reason.kind) == kind
    for function, names in promised.get("binds", {}).items():
        assert set(names) <= set(bound(changes, function))
    for function, names in promised.get("addresses", {}).items():
        assert set(names) <= set(bound(changes, function))
    for function, names in promised.get("calls", {}).items():
        assert set(names) <= set(called(changes, function))
    if "tables" in promised:
        tables = {table.section: len(table.records) for table in changes.tables}
        assert tables == promised["tables"]
    assert list(changes.metadata) == promised.get("metadata", [])
    if "gone" in promised:
        assert stems(changes.gone_functions) == sorted(promised["gone"])
    carried = {piece.section for piece in changes.pieces}
    assert set(promised.get("sections", [])) <= carried
    lifted = {each.refusal.code for each in changes.lifted}
    assert lifted == set(promised.get("lifted", []))
    for cause in promised.get("notes", []):
        assert cause in {note.cause for note in changes.notes}, told


@pytest.mark.parametrize(("case", "compiler"), PAIRS)
def test_case(case: Case, compiler: str) -> None:
    check(case, compiler, DEBUG[compiler])


@pytest.mark.slow
@pytest.mark.parametrize(("case", "compiler"), PAIRS)
def test_case_with_debug_information_the_other_way_round(
    case: Case, compiler: str
) -> None:
    check(case, compiler, OTHER_WAY_ROUND[compiler])


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name)
        for case in cases()
        if case.promised.get("debug")
        and case.promised.get("btf", True)
        and not case.name.startswith("lines-")
    ],
)
def test_meaning_by_btf(case: Case) -> None:
    """gcc can write BTF for any target, without DWARF."""
    check(case, "gcc", ("-gbtf",))

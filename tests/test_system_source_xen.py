"""Fixes of Debian's own Xen source, proved against Debian's own build of it and taken
by that hypervisor: what no rebuild of ours has touched."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import lpengine
from lpengine.api.source_builds import build_source
from lpengine.diff.changes import Verdict
from lpengine.hosts import lab
from lpengine.patch.source import SourceResult
from lpengine.patch.unproved import NotProvedError
from lpengine.planner import Severity
from tests.debian_sources import Sourced, fetch_xen
from tests.source_trees import write_fix

pytestmark = pytest.mark.system

# One line in a plain function, with lines added above what follows; one within a
# hypercall full of speculation barriers, guest accesses and their exception records.
FIXES = {
    "extra": {
        "xen/common/version.c": {
            "    return XEN_EXTRAVERSION;": "    /* Not what booted. */\n\n"
            '    return XEN_EXTRAVERSION "+source";'
        }
    },
    "pagesize": {
        "xen/common/kernel.c": {
            "-EINVAL : PAGE_SIZE);": "-EINVAL : PAGE_SIZE + 1);",
        }
    },
}
FUNCTIONS = {
    "extra": {"xen_extra_version"},
    "pagesize": {"do_xen_version", "compat_xen_version"},
}
CHECKS = {
    "extra": "cat /sys/hypervisor/version/extra",
    "pagesize": "cat /sys/hypervisor/properties/pagesize",
}


@pytest.fixture(scope="module")
def debian() -> Sourced:
    return fetch_xen()


@pytest.fixture(scope="module")
def symbols(debian: Sourced) -> Path:
    return debian.xen_symbols


@pytest.fixture(scope="module")
def results(
    debian: Sourced, symbols: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, SourceResult]:
    there = tmp_path_factory.mktemp("fixes")
    built = {}
    for name, edits in FIXES.items():
        fix = write_fix(there / f"{name}.patch", debian.tree, edits)
        built[name] = build_source(debian.tree, [fix], symbols, name=name)
    return built


@pytest.fixture(scope="module")
def modules(
    results: dict[str, SourceResult], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    there = tmp_path_factory.mktemp("modules")
    for name, result in results.items():
        assert result.built is not None
        (there / f"{name}.livepatch").write_bytes(result.built.payload)
    return {name: there / f"{name}.livepatch" for name in results}


@pytest.fixture(scope="module")
def guest(debian: Sourced, symbols: Path) -> Iterator[lab.Guest]:
    lab.fetch("xen")
    (hypervisor,) = (debian.files / "boot").glob("xen-*-amd64.gz")
    with lab.boot(
        "xen",
        name=f"source-{os.getpid()}",
        hypervisor=hypervisor,
        symbols=symbols,
    ) as booted:
        yield booted


@pytest.mark.parametrize("name", FIXES)
def test_the_fix_and_nothing_else(name: str, results: dict[str, SourceResult]) -> None:
    result = results[name]
    assert result.verdict is Verdict.CHANGED, result.refusals
    assert result.built is not None
    assert set(result.built.functions) == FUNCTIONS[name]
    assert result.proved > 4000
    assert result.configuration.endswith("'s own")


@pytest.mark.parametrize("name", FIXES)
def test_the_emulated_machine_takes_it(
    name: str, modules: dict[str, Path], symbols: Path, tmp_path: Path
) -> None:
    emulated = lpengine.emulate([modules[name]], symbols, state_directory=tmp_path)
    plan = emulated.acted.planned.plan
    assert [f for f in plan.findings if f.severity is not Severity.INFO] == []
    assert emulated.restored


def test_the_new_code_does_what_the_fix_says(
    modules: dict[str, Path], symbols: Path, tmp_path: Path
) -> None:
    emulated = lpengine.emulate(
        [modules["extra"]],
        symbols,
        calls=[("xen_extra_version", [], "string")],
        state_directory=tmp_path,
    )
    [call] = emulated.calls
    assert call.patched.value == f"{call.before.value}+source"
    assert call.reverted.value == call.before.value


@pytest.mark.parametrize("name", FIXES)
def test_debians_hypervisor_takes_it(
    name: str, modules: dict[str, Path], guest: lab.Guest
) -> None:
    trial = lab.try_module(guest, modules[name], [CHECKS[name]])
    assert (trial.verdict, trial.reason) == ("passed", "")
    [seen] = trial.comparisons
    expected = {
        "extra": f"{seen.before[1]}+source",
        "pagesize": str(int(seen.before[1]) + 1) if name == "pagesize" else "",
    }
    assert seen.patched == (0, expected[name])
    assert seen.restored


def test_a_structure_that_grows_is_refused(
    debian: Sourced, symbols: Path, tmp_path: Path
) -> None:
    edits = {
        "xen/common/sched/private.h": {
            "struct cpupool\n{\n": "struct cpupool\n{\n    unsigned long added;\n"
        }
    }
    fix = write_fix(tmp_path / "grows.patch", debian.tree, edits)
    result = build_source(debian.tree, [fix], symbols, name="grows")
    assert result.verdict is Verdict.REFUSED
    assert result.built is None
    assert ("LP-DAT-301", "struct cpupool") in {
        (each.code, each.subject) for each in result.refusals
    }
    assert {"common/sched/core.o", "common/sched/cpupool.o"} <= set(result.objects)


def test_another_build_is_not_what_the_tree_made(
    debian: Sourced, xen_image: Path, tmp_path: Path
) -> None:
    """Debian's next version: most functions are the same, and that does not do."""
    fix = write_fix(tmp_path / "fix.patch", debian.tree, FIXES["extra"])
    (own,) = (debian.files / "boot").glob("xen-*.config")
    with pytest.raises(NotProvedError) as caught:
        build_source(debian.tree, [fix], xen_image, name="wrong", configuration=own)
    assert 20 < len(caught.value.differences) < 2000
    assert caught.value.hint


def test_the_same_file_from_another_place(
    debian: Sourced,
    symbols: Path,
    results: dict[str, SourceResult],
    tmp_path: Path,
) -> None:
    tree = Path(shutil.copytree(debian.tree, tmp_path / "elsewhere", symlinks=True))
    fix = write_fix(tmp_path / "fix.patch", tree, FIXES["extra"])
    again = build_source(tree, [fix], symbols, name="extra")
    before = results["extra"].built
    assert again.built is not None
    assert before is not None
    assert again.built.payload == before.payload

"""Plans carried out on the Linux target: the planner, the engine and the journal over
a kernel made of files."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lpengine.engine import Outcome, execute, recover
from lpengine.engine.stack import Stack
from lpengine.journal import Journal, StepState
from lpengine.patch.model import NewSymbol, Patch, PatchSection, SymbolVersion
from lpengine.planner import Plan, Policy, Verdict, plan_apply, plan_revert
from lpengine.planner.plan import Apply, Load
from lpengine.targets.linux import LinuxTarget
from tests.fake_linux import BUILD_ID, NEVER, RELEASE, FakeKernel, module

SOON = timedelta(seconds=0.5)


def whole(patch: Patch) -> Patch:
    """With what the planner wants to see in any module."""
    tables = (".orc_unwind", ".orc_unwind_ip")
    return replace(
        patch,
        vermagic=f"{RELEASE} SMP ",
        versions=(SymbolVersion("module_layout", 1),),
        target_ids=(("vmlinux", BUILD_ID),),
        new_symbols=(NewSymbol("new", 1, 0, 16),),
        sections=tuple(
            PatchSection(2 + at, name, 8, 1, False, False, False)
            for at, name in enumerate(tables)
        ),
    )


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    return FakeKernel(tmp_path / "root")


@pytest.fixture
def target(kernel: FakeKernel, tmp_path: Path) -> LinuxTarget:
    return kernel.target(tmp_path / "state")


@pytest.fixture
def journal(target: LinuxTarget) -> Journal:
    return Journal(target.state_directory)


def carry_out(
    target: LinuxTarget, journal: Journal, plan: Plan, patches: Mapping[str, Patch]
) -> Outcome:
    return execute(plan, target, journal, patches, timeout=SOON)


def apply(target: LinuxTarget, journal: Journal, *patches: Patch) -> Outcome:
    plan = plan_apply(patches, target.facts(patches), Policy())
    assert plan.verdict is Verdict.READY, plan.blocking
    return carry_out(target, journal, plan, {p.name: p for p in patches})


def test_two_patches_go_on_and_one_comes_off(target, journal) -> None:
    one, two = whole(module("one")), whole(module("two", "kswapd"))
    assert apply(target, journal, one, two).status == "done"
    plan = plan_revert(["one"], target.facts())
    assert carry_out(target, journal, plan, {}).status == "done"
    assert target.facts().applied == ("two",)


def test_a_cumulative_patch_takes_their_place(target, journal) -> None:
    apply(target, journal, whole(module("one")), whole(module("two")))
    assert apply(target, journal, whole(module("all", replace=True))).status == "done"
    assert target.facts().applied == ("all",)


def test_a_stall_undoes_the_whole_run(kernel, target, journal) -> None:
    kernel.task(41, "cat", "kswapd", 0)
    before = target.facts()
    one, two = whole(module("one")), whole(module("two", "kswapd", on=NEVER))
    outcome = apply(target, journal, one, two)
    assert outcome.status == "rolled-back"
    assert "process 41 (cat) in kswapd" in outcome.error
    assert target.facts() == before
    assert kernel.modules == []


def test_a_replace_that_stalls_brings_nothing_down(kernel, target, journal) -> None:
    apply(target, journal, whole(module("one")))
    outcome = apply(target, journal, whole(module("all", replace=True, on=NEVER)))
    assert outcome.status == "rolled-back"
    assert target.facts().applied == ("one",)
    assert kernel.modules == ["one"]


def broken_off(
    target: LinuxTarget,
    journal: Journal,
    patch: Patch,
    kernel_stops: FakeKernel | None = None,
) -> None:
    """A run that dies as its last step ends, or while it waits for the kernel."""
    plan = plan_apply([patch], target.facts([patch]))
    assert plan.steps == (Load(patch.name, patch.sha256), Apply(patch.name))
    facts = target.facts()
    number = journal.begin_run(
        plan, facts.image.build_id, Stack.of(facts).to_json(), {}
    )
    index = journal.begin_step(number, plan.steps[0])
    target.load(patch)
    journal.end_step(number, index, StepState.DONE)
    journal.begin_step(number, plan.steps[1])
    if kernel_stops is not None:
        kernel_stops.sleep_raises = SystemExit
    target.apply(patch.name, SOON)


def test_the_power_fails_in_the_middle(kernel, target, journal, tmp_path) -> None:
    """After the boot nothing is on: nothing is done to bring it back, and nothing is
    said to be there."""
    broken_off(target, journal, whole(module("one")))
    kernel.boot("boot-2")
    after = kernel.target(tmp_path / "state")
    outcome = recover(after, journal)
    assert outcome is not None
    assert outcome.status == "recovered"
    assert "booted since" in outcome.error
    assert after.facts().loaded == ()
    assert kernel.modules == []


@pytest.mark.parametrize("enabled", [True, False])
def test_killed_while_tasks_were_switching(
    kernel, target, journal, tmp_path, enabled: bool
) -> None:
    """On its way on, or already on its way back: what the kernel is at with the patch
    is called off, and not waited for."""
    kernel.task(41, "cat", "kswapd", 0)
    stalling = whole(module("one", "kswapd", on=NEVER, off=3))
    with pytest.raises(SystemExit):
        broken_off(target, journal, stalling, kernel_stops=kernel)
    if not enabled:
        (kernel.tree.livepatch / "one/enabled").write_text("0")
        kernel.tick()
    assert kernel.on["one"].left
    kernel.sleep_raises = None
    after = kernel.target(tmp_path / "state")
    outcome = recover(after, journal)
    assert outcome is not None
    assert outcome.status == "recovered", outcome
    assert after.facts().loaded == ()
    assert (kernel.modules, kernel.on) == ([], {})


def test_a_run_that_only_missed_its_last_word_is_done(target, journal) -> None:
    broken_off(target, journal, whole(module("one")))
    outcome = recover(target, journal)
    assert outcome is not None
    assert outcome.status == "done"
    assert target.facts().applied == ("one",)

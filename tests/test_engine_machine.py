"""Failures at every step, and deaths, on a real emulated machine."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lpengine.elf import Image
from lpengine.errors import TargetError
from lpengine.journal import Journal
from lpengine.machine import store
from tests.dying import LPENGINE, count_lines, dies
from tests.machine_cases import VERBS, MachineCase

SOURCES = tuple(
    LPENGINE / each
    for each in ("engine", "journal", "targets", "loader", "machine/store.py")
)


@pytest.fixture(scope="module")
def case(
    tmp_path_factory: pytest.TempPathFactory, hv_image: Path, hv: Image
) -> MachineCase:
    return MachineCase(tmp_path_factory.mktemp("case"), hv_image, hv)


def failing_at(number: int, call: Callable[..., None]) -> Callable[..., None]:
    """`call`, but the disk is full at its `number`-th time, from 0."""
    count = 0

    def counted(*arguments: object) -> None:
        nonlocal count
        count += 1
        if count == number + 1:
            raise OSError(28, "No space left on device")
        call(*arguments)

    return counted


@pytest.mark.parametrize("verb", VERBS)
def test_a_plan_is_carried_out(case: MachineCase, verb: str) -> None:
    case.fresh()
    outcome = case.act(verb)
    assert outcome.status == "done", outcome
    assert case.standing_on_disk() != case.start


@pytest.mark.parametrize("verb", VERBS)
def test_a_full_disk_at_any_step_leaves_the_start(
    case: MachineCase, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(len(case.steps(verb))):
        case.fresh()
        with monkeypatch.context() as patched:
            write = failing_at(number, store._write_synced)
            patched.setattr(store, "_write_synced", write)
            outcome = case.act(verb)
        assert outcome.status == "rolled-back", outcome
        assert isinstance(outcome.cause, TargetError)
        assert outcome.cause.cause == "machine-not-written"
        assert case.standing_on_disk() == case.start
        assert case.recover() is None
        assert case.act(verb).status == "done"


def sweep(case: MachineCase, verb: str, every: int) -> None:
    case.fresh()
    lines = count_lines(lambda: case.act(verb), SOURCES)
    end = case.standing_on_disk()
    for line in [*range(0, lines, every), lines - 1]:
        case.fresh()
        assert dies(lambda: case.act(verb), SOURCES, line)
        dies(case.recover, SOURCES, line % 499)
        case.recover()
        now = case.standing_on_disk()
        assert now in (case.start, end), f"torn at line {line} of {lines}"
        with Journal(case.directory) as journal:
            assert journal.open_run() is None
        if now == case.start:
            assert case.act(verb).status == "done"
            assert case.standing_on_disk() == end


@pytest.mark.parametrize("verb", VERBS)
def test_killed_anywhere_it_is_never_torn(case: MachineCase, verb: str) -> None:
    sweep(case, verb, 599)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_killed_nearly_everywhere_it_is_never_torn(
    case: MachineCase, verb: str
) -> None:
    sweep(case, verb, 7)

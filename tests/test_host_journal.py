"""A host's journal: what is on the host, what is left to do, and what survives."""

import sqlite3
from pathlib import Path

import pytest

from lpengine.errors import InputError
from lpengine.journal import RunStatus, StepState
from lpengine.journal.host import HostJournal
from lpengine.journal.host_entries import Coming, Deed, HostStep, KeptModule, Trial
from lpengine.package.model import Level, Task

FILES = HostStep(Deed.FILES, "LPU-1")


@pytest.fixture
def journal(tmp_path: Path) -> HostJournal:
    return HostJournal(tmp_path)


def coming(update: str = "LPU-1", *, on_disk: bool = True) -> Coming:
    module = KeptModule("ab" * 32, b"module of " + update.encode())
    return Coming(update, "digest", b"{}", "somebody", on_disk, (module,))


def begin(journal: HostJournal, update: str = "LPU-1") -> int:
    return journal.begin_run("install", [update], "boot", coming=[coming(update)])


def test_reading_creates_nothing(journal: HostJournal, tmp_path: Path) -> None:
    assert journal.updates() == journal.entries() == journal.pending() == ()
    assert journal.open_run() is None
    assert journal.module("ab" * 32) is None
    assert list(tmp_path.iterdir()) == []


def test_an_update_counts_once_its_run_is_settled(journal: HostJournal) -> None:
    run = begin(journal)
    assert journal.updates() == ()
    assert [one.id for one in journal.coming(run)] == ["LPU-1"]
    assert journal.module("ab" * 32) == b"module of LPU-1"
    journal.settle(run, "later boot", [(Level.RECOMMENDED, Task.RESTART_TOOLSTACK)])
    (kept,) = journal.updates()
    assert (kept.id, kept.boot_id, kept.on_disk) == ("LPU-1", "later boot", True)
    assert journal.coming(run) == ()
    (pending,) = journal.pending()
    assert (pending.task, pending.boot_id) == (Task.RESTART_TOOLSTACK, "later boot")


def test_what_was_taken_back_is_forgotten(journal: HostJournal) -> None:
    run = begin(journal)
    index = journal.begin_step(run, FILES)
    journal.end_step(run, index, StepState.DONE)
    journal.begin_undoing(run, "full")
    journal.end_run(run, RunStatus.ROLLED_BACK, "full")
    assert journal.updates() == journal.coming(run) == ()
    assert journal.module("ab" * 32) is None
    (entry,) = journal.entries()
    assert (entry.status, entry.error) == (RunStatus.ROLLED_BACK, "full")
    assert [step.state for step in entry.steps] == [StepState.UNDONE]


def test_the_open_run_is_found_again(tmp_path: Path) -> None:
    with HostJournal(tmp_path) as journal:
        run = begin(journal)
        journal.begin_step(run, FILES)
    found = HostJournal(tmp_path).open_run()
    assert found is not None
    assert (found.id, found.updates, found.settled) == (run, ("LPU-1",), False)
    (step,) = found.steps
    assert (step.step, step.state) == (FILES, StepState.BEGUN)


def test_an_update_that_left_takes_its_modules_along(journal: HostJournal) -> None:
    first = begin(journal)
    journal.settle(first, "boot", [])
    journal.end_run(first, RunStatus.DONE)
    second = journal.begin_run("uninstall", ["LPU-1"], "boot")
    journal.settle(second, "boot", [], gone=["LPU-1"])
    assert journal.updates() == ()
    assert journal.module("ab" * 32) is None


def test_obsolete_tasks_go(journal: HostJournal) -> None:
    run = begin(journal)
    tasks = [(Level.FULL, Task.RESTART_TOOLSTACK), (Level.FULL, Task.REBOOT_HOST)]
    journal.settle(run, "boot", tasks)
    journal.settle(run, "boot", [], obsolete=[Task.REBOOT_HOST])
    assert [one.task for one in journal.pending()] == [Task.RESTART_TOOLSTACK]
    journal.clear(Task.RESTART_TOOLSTACK)
    assert journal.pending() == ()


def test_a_trial_ends_in_success_or_failure(journal: HostJournal) -> None:
    trial = Trial("xen", "fix", '{"version":"2"}', "boot", "", 1)
    journal.begin_trial(trial)
    assert [one.name for one in journal.trials()] == ["fix"]
    journal.end_trial(trial, "refused")
    assert journal.trials() == ()
    assert [one.error for one in journal.failures()] == ["refused"]
    journal.begin_trial(trial)
    journal.end_trial(trial)
    assert journal.failures() == ()
    assert [one.to for one in journal.applied()] == ['{"version":"2"}']


def test_a_boot_clears_all_but_marks(journal: HostJournal) -> None:
    run = begin(journal)
    journal.settle(run, "boot", [(Level.MANDATORY, Task.REBOOT_HOST)])
    journal.begin_trial(Trial("xen", "fix", "{}", "boot", "", run))
    journal.end_trial(Trial("kernel", "fix", "{}", "boot", "", run), "busy")
    journal.clear_earlier_boots("next boot")
    assert journal.pending() == journal.failures() == journal.applied() == ()
    assert len(journal.trials()) == 1
    journal.forget_trials("next boot")
    assert len(journal.trials()) == 1
    journal.forget_trials("boot")
    assert journal.trials() == ()


def test_another_kind_of_journal_is_not_taken_for_this_one(tmp_path: Path) -> None:
    from lpengine.journal import Journal

    with Journal(tmp_path) as other:
        assert other.open_run() is None
        connection = other._readable()
        connection.execute("SELECT 1")
    (tmp_path / "journal.sqlite").rename(tmp_path / "host.sqlite")
    with pytest.raises(InputError, match="not a journal"):
        HostJournal(tmp_path).updates()


def test_damage_is_named(journal: HostJournal) -> None:
    run = begin(journal)
    journal.settle(run, "boot", [(Level.FULL, Task.REBOOT_HOST)])
    journal.close()
    with sqlite3.connect(journal.path) as connection:
        connection.execute("UPDATE pending SET task = 'fly'")
    with pytest.raises(InputError, match="damaged"):
        HostJournal(journal.directory).pending()

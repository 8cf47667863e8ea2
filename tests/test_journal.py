"""The journal answers who, what, when, on which build id, after any crash; and says
so when its file cannot be trusted."""

import os
import sqlite3
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from lpengine.errors import InputError, LockedError, LpengineError, NotPermittedError
from lpengine.journal import (
    Journal,
    RunStatus,
    StepState,
    decode_step,
    encode_step,
    lock,
    lock_holder,
)
from lpengine.planner.plan import (
    Apply,
    Load,
    Plan,
    Replace,
    Revert,
    Step,
    Unload,
    Verdict,
)

STEPS: tuple[Step, ...] = (
    Load("a", "12" * 32),
    Apply("a", nodeps=True),
    Revert("a"),
    Replace("b", ("a", "c")),
    Unload("a", "34" * 32),
)


def plan(action: str = "apply") -> Plan:
    return Plan("fake:x", action, Verdict.READY, STEPS, (), (), "digest")


def begin(journal: Journal, **modules: bytes) -> int:
    return journal.begin_run(plan(), "b1", "{}", modules)


def test_it_answers_who_what_when_on_which_build_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    with Journal(tmp_path) as journal:
        run = begin(journal)
        index = journal.begin_step(run, STEPS[0])
        journal.end_step(run, index, StepState.DONE)
        journal.begin_step(run, STEPS[1])
    with Journal(tmp_path) as journal:
        (entry,) = journal.entries()
        assert journal.open_run() == entry
    assert (entry.actor, entry.verb, entry.target) == ("alice", "apply", "fake:x")
    assert (entry.build_id, entry.state_digest) == ("b1", "digest")
    assert (entry.pid, entry.status, entry.ended) == (os.getpid(), "running", "")
    first, second = entry.steps
    assert (first.step, first.state, first.index) == (STEPS[0], StepState.DONE, 0)
    assert (second.step, second.state, second.ended) == (STEPS[1], StepState.BEGUN, "")
    times = [entry.started, first.begun, first.ended, second.begun]
    assert times == sorted(times)
    assert all(datetime.fromisoformat(t).utcoffset() is not None for t in times)


def test_without_sudo_the_actor_is_who_logged_in_or_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    with Journal(tmp_path) as journal:
        begin(journal)
        assert journal.entries()[0].actor


def test_the_newest_run_comes_first(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        runs = [begin(journal) for _ in range(5)]
        for run in runs:
            journal.end_run(run, RunStatus.DONE)
        assert [entry.id for entry in journal.entries(3)] == runs[:1:-1]
        assert journal.open_run() is None


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_a_step_survives_writing_and_reading(step: Step) -> None:
    assert decode_step(encode_step(step)) == step


def test_modules_outlive_a_crash_and_go_with_a_good_end(tmp_path: Path) -> None:
    for status, kept in [
        (RunStatus.DONE, {}),
        (RunStatus.ROLLED_BACK, {}),
        (RunStatus.RECOVERED, {}),
        (RunStatus.STUCK, {"a": b"\x7fELF"}),
    ]:
        with Journal(tmp_path) as journal:
            run = begin(journal, a=b"\x7fELF")
        with Journal(tmp_path) as journal:
            assert journal.modules(run) == {"a": b"\x7fELF"}
            journal.end_run(run, status, ["a is loaded"])
            assert journal.modules(run) == kept
            assert journal.entries(1)[0].left == ("a is loaded",)


def test_the_end_of_a_run_settles_its_steps(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        run = begin(journal)
        journal.end_step(run, journal.begin_step(run, STEPS[0]), StepState.DONE)
        journal.begin_step(run, STEPS[1])
        journal.begin_undoing(run, "pid 7 died")
        journal.begin_step(run, STEPS[2], undoing=True)
        journal.end_run(run, RunStatus.RECOVERED)
        (entry,) = journal.entries()
    assert entry.error == "pid 7 died"
    states = [(step.state, step.undoing) for step in entry.steps]
    assert states == [("undone", False), ("undone", False), ("failed", True)]


def test_reading_where_nothing_was_done_creates_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path / "none") as journal:
        assert journal.entries() == ()
        assert journal.open_run() is None
    assert list(tmp_path.iterdir()) == []


def test_it_is_synced_before_a_step_acts(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        begin(journal)
        connection = journal._readable()
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_a_reader_sees_the_run_while_it_is_under_way(tmp_path: Path) -> None:
    with Journal(tmp_path) as writer, Journal(tmp_path) as reader:
        run = begin(writer)
        assert reader.open_run() is not None
        writer.end_run(run, RunStatus.DONE)
        assert reader.open_run() is None


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE cookies (name)")
    connection.close()


def newer(path: Path) -> None:
    with Journal(path.parent) as journal:
        begin(journal)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def without_a_column(path: Path) -> None:
    with Journal(path.parent) as journal:
        begin(journal)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE runs DROP COLUMN actor")
    connection.close()


def with_nonsense(path: Path) -> None:
    with Journal(path.parent) as journal:
        begin(journal)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE runs SET status = 'maybe'")
    connection.close()


def overwritten(path: Path) -> None:
    with Journal(path.parent) as journal:
        for _ in range(50):
            journal.end_run(begin(journal), RunStatus.DONE)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)


def truncated(path: Path) -> None:
    overwritten(path)
    os.truncate(path, 5000)


def text(path: Path) -> None:
    path.write_text("this is no database, " * 500)


@pytest.mark.parametrize(
    "damage",
    [foreign, newer, without_a_column, with_nonsense, overwritten, truncated, text],
)
def test_a_file_that_cannot_be_trusted_is_named_with_the_way_out(
    tmp_path: Path, damage: object
) -> None:
    path = tmp_path / "journal.sqlite"
    damage(path)  # type: ignore[operator]
    before = path.read_bytes()
    with Journal(tmp_path) as journal, pytest.raises(InputError) as caught:
        journal.entries()
    with Journal(tmp_path) as journal, pytest.raises(InputError):
        journal.open_run()
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert path.read_bytes() == before


def test_a_directory_instead_of_the_file_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").mkdir()
    with Journal(tmp_path) as journal, pytest.raises(LpengineError, match="journal"):
        journal.entries()


def test_a_directory_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Journal(tmp_path / "file" / "state") as journal:
        with pytest.raises(LpengineError, match="state"):
            begin(journal)
        with pytest.raises(LpengineError, match="state"), journal.lock("apply"):
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with Journal(tmp_path) as journal:
        with pytest.raises(NotPermittedError):
            begin(journal)
        with pytest.raises(NotPermittedError), journal.lock("apply"):
            pass


# The lock

HOLD = """
import sys
from pathlib import Path
from lpengine.journal import lock
with lock(Path(sys.argv[1]), "apply"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_process_is_told_who_the_first_is(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        said = f"lpengine apply, pid {holder.pid}, since 20"
        with pytest.raises(LockedError, match=said), lock(tmp_path, "revert"):
            pass
        assert str(lock_holder(tmp_path)).startswith(said)
        holder.kill()
    assert lock_holder(tmp_path) is None
    with lock(tmp_path, "revert"):
        pass


def test_the_lock_file_stays_and_forgets_the_holder(tmp_path: Path) -> None:
    with lock(tmp_path, "revert"):
        inode = (tmp_path / "lock").stat().st_ino
    assert (tmp_path / "lock").stat().st_ino == inode
    assert (tmp_path / "lock").read_bytes() == b""
    assert lock_holder(tmp_path) is None


def test_the_holder_may_lock_again(tmp_path: Path) -> None:
    other = tmp_path / "link"
    other.symlink_to(tmp_path)
    with lock(tmp_path, "apply"):
        with lock(other, "recover"):
            pass
        holder = lock_holder(tmp_path)
        assert holder is not None
        assert holder.what == "apply"
    assert lock_holder(tmp_path) is None


def test_a_failure_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock(tmp_path, "apply"):
        raise KeyError
    with lock(tmp_path, "apply"):
        pass

"""Machines on disk: a crash at any moment leaves before or after."""

import os
import random
import signal
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lpengine.core import Site
from lpengine.errors import InputError, NotFoundError, TargetError, UsageError
from lpengine.machine import (
    EmulatedMachine,
    Protection,
    create_machine,
    open_machine,
)

PAGE = 4096


@pytest.fixture
def machine(probe_image: Path, machine_dir: Path) -> EmulatedMachine:
    return create_machine(machine_dir, probe_image, cpus=2, features=(3, 9 * 32))


def value(machine: EmulatedMachine) -> int:
    """What the pages say: the first bytes of all three must agree."""
    page = machine.image.image.symbols.named("page")[0].value
    found = {machine.read(page + n * PAGE, 4) for n in range(3)}
    assert len(found) == 1
    return int.from_bytes(found.pop(), "little")


def set_value(machine: EmulatedMachine, number: int) -> None:
    """Change everything that a state consists of, in one transaction."""
    page = machine.image.image.symbols.named("page")[0].value
    with machine.transaction():
        for n in range(3):
            machine.write(page + n * PAGE, number.to_bytes(4, "little"))
        machine.record = str(number).encode()
        if number % 2:
            machine.write(machine.allocate(PAGE), b"%d" % number)
        elif machine.patch_area[2] < machine.patch_area[1] - machine.patch_area[0]:
            machine.free(machine.patch_area[0])


def check(machine: EmulatedMachine) -> int:
    """That all parts of the state are of the same moment; its number."""
    number = value(machine)
    assert machine.record == (str(number).encode() if number else b"")
    if number % 2:
        content = machine.read(machine.patch_area[0], 8)
        assert content.rstrip(b"\0") == b"%d" % number
    else:
        with pytest.raises(TargetError):
            machine.read(machine.patch_area[0], 1)
    return number


def test_a_machine_is_as_it_was_left(
    machine: EmulatedMachine, machine_dir: Path
) -> None:
    code = machine.allocate(2 * PAGE)
    machine.write(code, b"\xb8\x07\0\0\0\xc3")
    machine.write(code + PAGE, b"data")
    machine.protect(code, PAGE, Protection.READ | Protection.EXECUTE)
    installed = machine.redirect([Site(machine.address_of("two"), code, 10)])
    machine.record = b"\0anything\xff"
    again = open_machine(machine_dir)
    assert again.call_by_name("two") == 7
    assert again.record == b"\0anything\xff"
    assert again.patch_area == machine.patch_area
    assert again.read(code + PAGE, 4) == b"data"
    again.call_by_name("store", [code + PAGE, 5])
    again.take_back(installed)
    again.free(code)
    last = open_machine(machine_dir)
    assert last.call_by_name("two") == 2
    assert last.patch_area[2] == last.patch_area[1] - last.patch_area[0] - PAGE


def test_a_machine_remembers_what_it_was_made_with(
    machine: EmulatedMachine, machine_dir: Path, probe_image: Path
) -> None:
    again = open_machine(machine_dir)
    assert again.cpu_count == 2
    assert [again.has_cpu_feature(n) for n in (3, 4, 288)] == [True, False, True]
    assert again.version == ""
    assert again.name == str(machine_dir)
    assert (machine_dir / "image").read_bytes() == probe_image.read_bytes()


def test_what_calls_change_is_kept_and_what_they_do_not_costs_nothing(
    machine: EmulatedMachine, machine_dir: Path
) -> None:
    machine.call_by_name("count_to", [5])
    before = (machine_dir / "state").stat()
    machine.call_by_name("one")
    after = (machine_dir / "state").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert open_machine(machine_dir).call_by_name("count_up") == 6


def test_a_call_that_is_carried_on_is_kept_when_it_ends(
    machine: EmulatedMachine, machine_dir: Path
) -> None:
    machine.start("count_to", [5], cpu=1)
    machine.step(1, 20)
    assert open_machine(machine_dir).stopped() == ()
    assert machine.finish(1) == 5
    assert open_machine(machine_dir).call_by_name("count_up") == 6


def test_only_what_changed_is_stored(
    machine: EmulatedMachine, machine_dir: Path
) -> None:
    empty = (machine_dir / "state").stat().st_size
    page = machine.image.image.symbols.named("page")[0].value
    machine.write(page, b"x")
    size = (machine_dir / "state").stat().st_size
    assert PAGE < size - empty < PAGE + 100
    machine.write(page, b"\0")
    assert (machine_dir / "state").stat().st_size < empty + 10


def test_nothing_is_durable_before_the_transaction_ends(
    machine: EmulatedMachine, machine_dir: Path
) -> None:
    with machine.transaction():
        machine.record = b"new"
        machine.call_by_name("count_up")
        assert open_machine(machine_dir).record == b""
    again = open_machine(machine_dir)
    assert again.record == b"new"
    assert again.call_by_name("count_up") == 2


def test_two_processes_cannot_undo_each_other(
    machine: EmulatedMachine, machine_dir: Path
) -> None:
    other = open_machine(machine_dir)
    other.record = b"other"
    with pytest.raises(TargetError, match="another process") as caught:
        machine.record = b"mine"
    assert caught.value.cause == "machine-changed"
    with pytest.raises(TargetError, match="another process"):
        assert machine.record
    assert open_machine(machine_dir).record == b"other"


def test_a_state_that_cannot_be_written_is_undone(
    machine: EmulatedMachine, machine_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    set_value(machine, 1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(TargetError, match="No space left"):
            set_value(machine, 2)
    assert check(machine) == 1
    assert check(open_machine(machine_dir)) == 1
    set_value(machine, 2)
    assert check(open_machine(machine_dir)) == 2


def test_a_directory_that_cannot_be_synced_holds_the_new_state(
    machine: EmulatedMachine, machine_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rename has happened: memory and disk must not part."""

    def broken(_directory: Path) -> None:
        raise OSError(5, "Input/output error")

    set_value(machine, 1)
    with monkeypatch.context() as patched:
        patched.setattr("lpengine.machine.store._sync", broken)
        set_value(machine, 2)
    assert check(machine) == check(open_machine(machine_dir)) == 2
    set_value(machine, 3)
    assert check(open_machine(machine_dir)) == 3


@pytest.mark.parametrize("what", ["file", "full", "no-parent-permission"])
def test_a_machine_needs_a_place_of_its_own(
    probe_image: Path, tmp_path: Path, what: str
) -> None:
    place = tmp_path / "place"
    if what == "file":
        place.write_text("mine")
    elif what == "full":
        place.mkdir()
        (place / "mine").write_text("mine")
    else:
        place = Path("/proc/place")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError):
        create_machine(place, probe_image)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_directory_will_do(probe_image: Path, machine_dir: Path) -> None:
    machine_dir.mkdir()
    create_machine(machine_dir, probe_image)
    assert open_machine(machine_dir).call_by_name("one") == 1
    assert [path.name for path in machine_dir.parent.iterdir()] == [machine_dir.name]


def test_what_is_missing_is_not_found(probe_image: Path, machine_dir: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no machine"):
        open_machine(machine_dir)
    with pytest.raises(NotFoundError):
        create_machine(machine_dir, machine_dir / "image")
    assert not machine_dir.exists()
    with pytest.raises(UsageError, match="CPUs"):
        create_machine(machine_dir, probe_image, cpus=0)


def test_an_object_file_is_no_machine(probe_image: Path, machine_dir: Path) -> None:
    with pytest.raises(InputError, match="no segment to load"):
        create_machine(machine_dir, probe_image.with_name("probe.o"))


@pytest.mark.parametrize("name", ["image", "state", "machine.json"])
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_damaged_file_is_named_and_nothing_else_happens(
    machine: EmulatedMachine, machine_dir: Path, name: str, data: st.DataObject
) -> None:
    path = machine_dir / name
    if check(open_machine(machine_dir)) != 1:
        set_value(machine, 1)
    good = path.read_bytes()
    position = data.draw(st.integers(0, len(good) - 1))
    flip = bytearray(good)
    flip[position] ^= data.draw(st.integers(1, 255))
    damaged = data.draw(st.sampled_from([bytes(flip), good[:position]]))
    path.write_bytes(damaged)
    with pytest.raises(InputError) as caught:
        open_machine(machine_dir)
    assert str(machine_dir) in caught.value.message
    assert caught.value.hint
    path.write_bytes(good)
    assert check(open_machine(machine_dir)) == 1


def test_a_missing_file_is_named(machine: EmulatedMachine, machine_dir: Path) -> None:
    for name in ("state", "image"):
        path = machine_dir / name
        path.rename(path.with_suffix(".away"))
        with pytest.raises(InputError, match=f"{name}: cannot be read"):
            open_machine(machine_dir)
        path.with_suffix(".away").rename(path)
    (machine_dir / "machine.json").unlink()
    with pytest.raises(NotFoundError):
        open_machine(machine_dir)


def sealed(content: bytes) -> bytes:
    return content + sha256(content).digest()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b'"allocations":[[1844660', b'"allocations":[[1644660', "outside the patch"),
        (b'"pages":[1844660', b'"pages":[1644660', "no memory"),
        (b",3]]", b",7]]", "in a way that cannot be"),
        (b'"sequence"', b'"sequenc_"', "sequenc_"),
        (b'"record_size":1', b'"record_size":2', "another size"),
        (b'"machine":"', b'"machine": "', "truncated|malformed|another size"),
    ],
)
def test_a_state_that_lies_is_refused(
    machine: EmulatedMachine, machine_dir: Path, old: bytes, new: bytes, what: str
) -> None:
    """With a checksum that is right."""
    set_value(machine, 1)
    path = machine_dir / "state"
    content = path.read_bytes()[:-32]
    assert old in content
    path.write_bytes(sealed(content.replace(old, new, 1)))
    with pytest.raises(InputError, match=what):
        open_machine(machine_dir)


def test_the_state_of_another_machine_is_refused(
    build_probe: Callable[..., Path], machine: EmulatedMachine, machine_dir: Path
) -> None:
    other = machine_dir.with_name("other")
    path = build_probe(machine_dir.with_name("b"), 0x400000, writable_code=True)
    create_machine(other, path)
    (other / "state").write_bytes((machine_dir / "state").read_bytes())
    with pytest.raises(InputError, match="do not belong together"):
        open_machine(other)


def in_child(action: Callable[[], object]) -> bool:
    """Run it in a forked process; whether that came to its end."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return not os.WIFSIGNALED(status)


SYSTEM_CALLS = ["fsync", "rename", "replace", "open", "mkdir", "close"]


def kill_at(count: int) -> None:
    """From now on, kill this process before its `count`th system call that
    touches files, and in the middle of a write."""
    left = count

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        return call

    for name in SYSTEM_CALLS:
        setattr(os, name, counted(getattr(os, name)))


def test_killed_at_every_step_of_a_commit(
    machine: EmulatedMachine, machine_dir: Path
) -> None:
    set_value(machine, 1)
    seen = set()
    for count in range(1, 100):

        def commit(count: int = count) -> None:
            child = open_machine(machine_dir)
            kill_at(count)
            set_value(child, value(child) + 1)

        before = check(open_machine(machine_dir))
        ended = in_child(commit)
        after = check(open_machine(machine_dir))
        assert after in ((before + 1,) if ended else (before, before + 1))
        seen.add(after - before)
        if ended:
            break
    assert count > 4
    assert seen == {0, 1}


def test_killed_at_every_step_of_a_creation(
    probe_image: Path, machine_dir: Path
) -> None:
    absent = 0
    for count in range(1, 100):

        def create(count: int = count) -> None:
            kill_at(count)
            create_machine(machine_dir, probe_image)

        ended = in_child(create)
        if machine_dir.exists():
            assert check(open_machine(machine_dir)) == 0
            machine_dir.rename(machine_dir.with_name(f"made{count}"))
        else:
            absent += 1
            assert not ended
        if ended:
            break
    assert absent > 4
    names = [path.name for path in machine_dir.parent.iterdir()]
    assert [name for name in names if not name.startswith("made")] == []


@pytest.mark.parametrize("written", [0, 1, 100, 5000, 9000])
def test_killed_in_the_middle_of_writing(
    machine: EmulatedMachine, machine_dir: Path, written: int
) -> None:
    """As a state.new that stopped there."""
    set_value(machine, 1)
    before = (machine_dir / "state").read_bytes()
    set_value(machine, 2)
    torn = (machine_dir / "state").read_bytes()[:written]
    (machine_dir / "state").write_bytes(before)
    (machine_dir / "state.new").write_bytes(torn)
    again = open_machine(machine_dir)
    assert check(again) == 1
    set_value(again, 2)
    assert check(open_machine(machine_dir)) == 2


def test_killed_at_any_time(machine: EmulatedMachine, machine_dir: Path) -> None:
    def commit_forever() -> None:
        child = open_machine(machine_dir)
        while True:
            set_value(child, value(child) + 1)

    for _ in range(12):
        before = check(open_machine(machine_dir))
        child = os.fork()
        if child == 0:
            try:
                commit_forever()
            finally:
                os._exit(1)
        time.sleep(random.uniform(0.02, 0.08))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert check(open_machine(machine_dir)) >= before
    assert check(open_machine(machine_dir)) > 5

"""The lpengine that is on a host: what it knows of the host, and what it does there.

It is asked by its command line, whatever way the host is reached. A host needs none to
be looked at; one that is there is believed, and has to answer.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from lpengine.errors import InconclusiveError
from lpengine.hosts import Completed, Host, LocalHost
from lpengine.package.model import Level, Task, Version
from lpengine.planner.updates.plan import HostTask
from lpengine.planner.updates.state import Crash, Pending
from lpengine.targets.host.builds import Build
from lpengine.targets.host.remembered import Remembered

PROGRAM = "lpengine"
HERE: tuple[str, ...] = (sys.executable, "-m", PROGRAM)
NO_SUCH_PROGRAM = 127
_QUICK = timedelta(minutes=5)
# Statuses with which `status` and `clear` say how things are.
_NOTHING_LEFT, _TASKS_LEFT = 0, 20


@dataclass(frozen=True)
class Place:
    """How a host is laid out. `root` is "" for a machine's own; `config` is a host.toml
    elsewhere; `components` names the target of each component that neither the machine
    itself nor host.toml tells of."""

    root: str = ""
    config: str = ""
    components: Mapping[str, str] = field(default_factory=dict)

    @property
    def options(self) -> tuple[str, ...]:
        """Those of lpengine's verbs on a host as a whole."""
        root = ("--root", self.root) if self.root else ()
        config = ("--config", self.config) if self.config else ()
        targets = (
            word
            for component, target in sorted(self.components.items())
            for word in ("--component", f"{component}={target}")
        )
        return (*root, *config, *targets)


OWN = Place()


@dataclass(frozen=True)
class Told:
    """What a host's lpengine says of it: `builds` by component, and in `left` what the
    updates on it leave to be done."""

    remembered: Remembered
    builds: Mapping[str, Build]
    left: tuple[HostTask, ...] = ()


def ask_status(host: Host, place: Place = OWN) -> Told | None:
    """None where the host has no lpengine. `InconclusiveError` where it does not
    answer as it should: nobody then knows what it has left to be done."""
    done = run(host, ["status", *place.options, "--json"], timeout=_QUICK)
    if done.status == NO_SUCH_PROGRAM:
        return None
    try:
        if done.status not in (_NOTHING_LEFT, _TASKS_LEFT):
            raise ValueError(last_line(done))
        return told(msgspec.json.decode(done.stdout, type=_Status))
    except (msgspec.MsgspecError, ValueError) as error:
        raise InconclusiveError(
            f"{PROGRAM} on {host.name} does not say how the host is: {error}",
            hint=f"try there: {PROGRAM} status",
        ) from None


def clear(host: Host, place: Place, task: Task) -> None:
    """Tell it that a task was carried out; a host without one has nothing to forget.
    `InconclusiveError` where it does not take it."""
    done = run(host, ["clear", task.value, *place.options, "--json"], timeout=_QUICK)
    if done.status not in (NO_SUCH_PROGRAM, _NOTHING_LEFT, _TASKS_LEFT):
        raise InconclusiveError(
            f"{PROGRAM} on {host.name} does not take note of {task}: {last_line(done)}",
            hint=f"try there: {PROGRAM} clear {task}",
        )


def run(host: Host, words: Sequence[str], *, timeout: timedelta) -> Completed:
    """One of its verbs. This machine's lpengine is the one that runs."""
    program = HERE if host.name == LocalHost.name else (PROGRAM,)
    return host.run([*program, *words], timeout=timeout)


def last_line(done: Completed) -> str:
    """What a verb that failed has said: as a document, or on standard error."""
    try:
        return msgspec.json.decode(done.stdout, type=_Error).message
    except (msgspec.MsgspecError, UnicodeDecodeError):
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with {done.status}"


# The parts of lpengine/host-status/1 that matter here.


class _Error(msgspec.Struct):
    message: str


class _Version(msgspec.Struct):
    version: str
    release: str
    epoch: int | None


class _Patch(msgspec.Struct):
    component: str
    name: str
    to: _Version | None


class _Remembered(msgspec.Struct):
    versions: list[_Patch]
    installed_updates: list[str]
    pending: dict[Level, list[Task]]
    updates_requiring_reboot: list[str]
    failed: list[str]
    crashed: list[_Patch]
    operations: list[str]
    held: str
    pinned: list[str]
    closed_until: str


class _Component(msgspec.Struct):
    component: str
    build_id: str
    booted: str
    applied: list[str] | None


class _Status(msgspec.Struct, tag_field="schema", tag="lpengine/host-status/1"):
    components: list[_Component]
    tasks: list[HostTask]
    remembered: _Remembered


def told(status: _Status) -> Told:
    found = status.remembered
    return Told(
        Remembered(
            versions={
                (one.component, one.name): version(one.to)
                for one in found.versions
                if one.to is not None
            },
            installed_updates=frozenset(found.installed_updates),
            updates_requiring_reboot=frozenset(found.updates_requiring_reboot),
            pending=Pending(
                *(tuple(found.pending.get(level, ())) for level in _LEVELS)
            ),
            failed=frozenset(found.failed),
            crashed=tuple(
                Crash(one.component, None if one.to is None else version(one.to))
                for one in found.crashed
            ),
            operations=tuple(found.operations),
            held=found.held,
            pinned=frozenset(found.pinned),
            closed_until=found.closed_until,
        ),
        {one.component: build(one) for one in status.components},
        tuple(status.tasks),
    )


_LEVELS = (Level.MANDATORY, Level.RECOMMENDED, Level.FULL)


def version(one: _Version) -> Version:
    return Version(one.version, one.release, one.epoch)


def build(one: _Component) -> Build:
    applied = None if one.applied is None else tuple(one.applied)
    return Build(one.component, one.build_id, applied, one.booted)

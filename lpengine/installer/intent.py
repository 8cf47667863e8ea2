"""What a run is about to do, as its journal keeps it: enough to end it later."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from lpengine.errors import InputError
from lpengine.package.model import Level, Task
from lpengine.planner.updates.pending import OF_HOST
from lpengine.planner.updates.plan import HostPlan
from lpengine.planner.updates.precedence import LEVELS


@dataclass(frozen=True)
class Reverting:
    """A live patch that is to come off a component, which runs that build."""

    component: str
    name: str
    build_id: str


@dataclass(frozen=True)
class Intent:
    """`pending` is left to do once the disk is done, `obsolete` no longer is, and the
    live patches `forgiven`, by component and name, need not have gone on; then
    `reverts` come off. `plan` is what was shown to the operator, for the record."""

    pending: tuple[tuple[Level, Task], ...] = ()
    obsolete: tuple[Task, ...] = ()
    forgiven: tuple[tuple[str, str], ...] = ()
    keep_changed: bool = False
    reverts: tuple[Reverting, ...] = ()
    plan: Any = None

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str, where: str) -> "Intent":
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise InputError(f"{where}: {error}") from error


def guidance_of(plan: HostPlan) -> Iterator[tuple[Level, Task]]:
    """What a host has to remember of a plan, as it is asked for: it is reduced where it
    is shown. Whether a recommended reboot is still due follows from what runs: a live
    patch may go on later."""
    for level in LEVELS:
        for task in plan.guidance.get(level, ()):
            derived = (level, task) == (Level.RECOMMENDED, Task.REBOOT_HOST)
            if task in OF_HOST and not derived:
                yield level, task

"""What an earlier part of a run has done to a host."""

from collections.abc import Sequence
from dataclasses import dataclass

from lpengine.planner.updates.plan import HostTask
from lpengine.pool.outcome import Phase
from lpengine.pool.record import Kind, Line


@dataclass(frozen=True)
class Past:
    """`begun`: something was done to the host. `closed`: it was taken out of service
    and not put back, and `guests` were on it then. `installed`: the updates went onto
    it while its boot id was `boot_id`, and `owed` are the tasks that they left and
    that were not carried out since."""

    begun: bool = False
    closed: bool = False
    guests: tuple[str, ...] = ()
    installed: bool = False
    boot_id: str = ""
    owed: tuple[HostTask, ...] = ()


def past_of(lines: Sequence[Line]) -> Past:
    """An evacuation counts from its beginning: who knows how far it came. Of a host
    that was out of service before it nothing is to be put back."""
    closed = installed = begun = False
    guests: tuple[str, ...] = ()
    owed: tuple[HostTask, ...] = ()
    boot_id = ""
    for line in lines:
        acted = line.phase not in (None, Phase.CHECK)
        begun = begun or (acted and line.kind is Kind.BEGUN)
        match line.phase, line.kind:
            case Phase.EVACUATE, Kind.BEGUN:
                closed, guests = not line.closed, line.guests or guests
            case Phase.ENABLE, Kind.DONE:
                closed = False
            case Phase.INSTALL, Kind.BEGUN:
                boot_id, owed = line.boot_id, line.tasks
            case Phase.INSTALL, Kind.DONE:
                installed = True
            case Phase.TASK, Kind.DONE:
                owed = tuple(one for one in owed if named(one) != line.detail)
            case _:
                pass
    return Past(begun, closed, guests, installed, boot_id, owed if installed else ())


def named(task: HostTask) -> str:
    """A task in one word."""
    return f"{task.task}:{task.target}" if task.target else task.task.value

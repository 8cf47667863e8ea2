"""Which tasks make others pointless: within one level of guidance, and from one level
to the next (XAPI, repository_helpers.ml: GuidanceSet)."""

from collections.abc import Iterable

from lpengine.package.model import Level, Task

# A reboot does not restart guests that were moved away from it. The values for failed
# live patches take no part. Processes are ours: a reboot starts them anew.
PRECEDENCES: tuple[tuple[Task, frozenset[Task]], ...] = (
    (
        Task.REBOOT_HOST,
        frozenset(
            {
                Task.RESTART_TOOLSTACK,
                Task.EVACUATE_HOST,
                Task.RESTART_DEVICE_MODEL,
                Task.RESTART_PROCESS,
            }
        ),
    ),
    (Task.EVACUATE_HOST, frozenset({Task.RESTART_DEVICE_MODEL})),
    (Task.RESTART_VM, frozenset({Task.RESTART_DEVICE_MODEL})),
)

# From the most binding one; the one for live patches replaces RECOMMENDED.
LEVELS = (Level.MANDATORY, Level.RECOMMENDED, Level.FULL)


def reduced(tasks: Iterable[Task]) -> frozenset[Task]:
    """The tasks without those that others cover."""
    left = frozenset(tasks)
    for higher, lower in PRECEDENCES:
        if higher in left:
            left -= lower
    return left


def beyond(higher: Iterable[Task], own: Iterable[Task]) -> frozenset[Task]:
    """What a level adds to those above it: neither what they have already, nor what
    they make pointless."""
    above = frozenset(higher)
    return reduced(above | frozenset(own)) - above


def cascaded(
    levels: Iterable[tuple[Level, Iterable[Task]]],
) -> tuple[tuple[Level, frozenset[Task]], ...]:
    """Each level, the most binding first, with only what it adds. What is carried down
    is what the levels asked for, not what was left of it; and a reboot further down
    takes nothing away from above."""
    carried: frozenset[Task] = frozenset()
    result = []
    for level, tasks in levels:
        own = frozenset(tasks)
        result.append((level, beyond(carried, own)))
        carried |= own
    return tuple(result)

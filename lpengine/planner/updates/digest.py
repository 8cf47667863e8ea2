"""What a plan for a host is bound to, beside the updates themselves."""

import hashlib
from collections.abc import Mapping

from lpengine.package.model import Version
from lpengine.planner.updates.case import installed_version
from lpengine.planner.updates.precedence import LEVELS
from lpengine.planner.updates.state import HostState
from lpengine.planner.updates.update_set import UpdateSet


def state_digest(updates: UpdateSet, host: HostState, refusal: str = "") -> str:
    """SHA-256, as hex, over what must not change between planning and acting: the boot,
    what runs, the packages and updates that are installed as far as the set is about
    them, what earlier updates have left, and whether live patches may be applied.
    Guests come and go, and are looked at again by the prechecks."""
    ids = updates.ids
    answers = [(one, host.prechecks[one]) for one in sorted(host.prechecks)]
    state = (
        host.name,
        host.boot_id,
        refusal,
        sorted(map(repr, host.running)),
        sorted(host.not_running),
        relevant(updates, host.installed),
        sorted(host.installed_updates & ids),
        None if host.rows is None else sorted(map(repr, host.rows)),
        [sorted(host.pending.at(level)) for level in LEVELS],
        sorted(host.updates_requiring_reboot),
        host.toolstack_restart_pending,
        sorted(map(repr, host.crashed)),
        sorted(host.pinned),
        [(one, answer) for one, answer in answers if one in ids],
    )
    # Equal values have equal representations, wherever they were read from.
    return hashlib.sha256(repr(state).encode()).hexdigest()


def relevant(
    updates: UpdateSet, installed: Mapping[str, Version | None] | None
) -> list[tuple[str, str]] | None:
    """The packages that updates bring or have conditions about."""
    if installed is None:
        return None
    found = ((one, installed_version(one, installed)) for one in updates.places)
    return [(one, str(version)) for one, version in found]

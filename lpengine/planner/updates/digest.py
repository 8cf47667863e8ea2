"""What a plan for a host is bound to, beside the updates themselves."""

import hashlib
from collections.abc import Mapping

import msgspec

from lpengine.package.model import Version
from lpengine.planner.updates.state import HostState
from lpengine.planner.updates.update_set import UpdateSet

_ENCODER = msgspec.json.Encoder(order="deterministic")


def state_digest(updates: UpdateSet, host: HostState, refusal: str = "") -> str:
    """SHA-256, as hex, over what must not change between planning and acting: the boot,
    what runs, the packages and updates that are installed as far as the set is about
    them, what earlier updates have left, and whether live patches may be applied.
    Guests come and go, and are looked at again by the prechecks."""
    ids = updates.ids
    state = (
        host.name,
        host.boot_id,
        refusal,
        sorted(host.running, key=repr),
        sorted(host.not_running),
        relevant(updates, host.installed),
        sorted(host.installed_updates & ids),
        None if host.rows is None else sorted(host.rows, key=repr),
        host.pending,
        sorted(host.updates_requiring_reboot),
        host.toolstack_restart_pending,
        sorted(host.crashed, key=repr),
        sorted(host.pinned),
        {one: host.prechecks[one] for one in host.prechecks if one in ids},
    )
    return hashlib.sha256(_ENCODER.encode(state)).hexdigest()


def relevant(
    updates: UpdateSet, installed: Mapping[str, Version | None] | None
) -> dict[str, Version | None] | None:
    """The packages that updates bring or have conditions about."""
    if installed is None:
        return None
    return {name: installed[name] for name in updates.places if name in installed}

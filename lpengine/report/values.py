"""What a verb has to show, before it is text or JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

# Named here, made elsewhere: showing a module needs neither planner nor engine.
if TYPE_CHECKING:
    from lpengine.elf import Image
    from lpengine.engine import Outcome
    from lpengine.journal import Entry
    from lpengine.package.model import Update
    from lpengine.package.trust import Signer
    from lpengine.patch.model import Patch
    from lpengine.planner import Facts, Plan
    from lpengine.planner.updates.plan import FleetPlan
    from lpengine.planner.updates.state import HostState
    from lpengine.pool.gather import Observed


@dataclass(frozen=True)
class Inspection:
    """A module; `image` is None where it is no ELF file at all."""

    path: str
    patch: Patch
    image: Image | None


@dataclass(frozen=True)
class Planned:
    """A plan, the modules it was made for, and what was observed."""

    plan: Plan
    patches: tuple[Patch, ...]
    facts: Facts


@dataclass(frozen=True)
class FunctionChange:
    """A function before and after an action: its bytes up to the next symbol."""

    name: str
    address: int
    before: bytes
    after: bytes


@dataclass(frozen=True)
class Acted:
    """What a verb did. `outcome` is None for a dry run or a refused plan;
    `recovered` tells of an earlier run that was found broken off and undone."""

    planned: Planned
    outcome: Outcome | None
    changes: tuple[FunctionChange, ...] = ()
    recovered: Outcome | None = None
    after: Facts | None = None


@dataclass(frozen=True)
class CallResult:
    """A call of a function in a machine. `value` is int, str or bytes as asked."""

    function: str
    arguments: tuple[str, ...]
    returns: str
    value: int | str | bytes


@dataclass(frozen=True)
class CallComparison:
    """One call before the patch, with it, and after it was taken back."""

    call: str
    before: CallResult
    patched: CallResult
    reverted: CallResult


@dataclass(frozen=True)
class Emulated:
    """An application to a throw-away machine. `differing` names the image's symbols
    that were not as before once the patch was taken back and unloaded: what its
    hooks have written."""

    acted: Acted
    calls: tuple[CallComparison, ...] = ()
    differing: tuple[str, ...] = ()

    @property
    def restored(self) -> bool:
        """Every byte of the image is as it was."""
        return not self.differing


@dataclass(frozen=True)
class Status:
    """What runs now. `broken_off` is a run that never ended; where the target has
    `booted_since`, nothing of it is left."""

    facts: Facts
    broken_off: Entry | None = None
    booted_since: bool = False


@dataclass(frozen=True)
class Recovery:
    """What became of a run of `target` that was broken off, and how the target is
    now. All but the target is None where there was no such run."""

    target: str
    broken_off: Entry | None = None
    outcome: Outcome | None = None
    facts: Facts | None = None


@dataclass(frozen=True)
class History:
    target: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Packed:
    """A bundle. `manifest` is to the byte; `signed_by` is the fingerprint of a key
    that nobody has vouched for yet, "" where there is no signature."""

    path: str
    size: int
    digest: str
    signed_by: str
    manifest: bytes
    update: Update


@dataclass(frozen=True)
class Verified:
    """A bundle that is whole, and who has signed it."""

    packed: Packed
    signer: Signer
    contents: int


@dataclass(frozen=True)
class PlannedFleet:
    """A plan for pools. `silent` says why a host could not be looked at, by
    "POOL/HOST"; `without_engine` are those that have no lpengine."""

    plan: FleetPlan
    updates: tuple[Verified, ...]
    silent: Mapping[str, str]
    without_engine: tuple[str, ...] = ()


@dataclass(frozen=True)
class FleetStatus:
    """What was observed; `unfinished` has the time a run was started that did not end,
    by pool. `hosts` are those that were asked about, all where there are none."""

    observed: tuple[Observed, ...]
    unfinished: Mapping[str, str]
    hosts: tuple[str, ...] = ()

    def of(self, pool: Observed) -> Iterator[HostState]:
        for host in pool.state.hosts:
            if not self.hosts or host.name in self.hosts:
                yield host

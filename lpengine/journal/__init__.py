"""What was done to a target, on disk, crash-safe, and the lock around doing it. What
was done to a host is in lpengine.journal.host, which fewer need."""

from lpengine.journal.entries import Entry, RunStatus, StepEntry, StepState
from lpengine.journal.lock import Holder, lock, lock_holder
from lpengine.journal.steps import decode_plan_steps, decode_step, encode_step
from lpengine.journal.store import BROKEN_OFF, Journal

__all__ = [
    "BROKEN_OFF",
    "Entry",
    "Holder",
    "Journal",
    "RunStatus",
    "StepEntry",
    "StepState",
    "decode_plan_steps",
    "decode_step",
    "encode_step",
    "lock",
    "lock_holder",
]

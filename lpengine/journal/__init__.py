"""What was done to a target, on disk, crash-safe, and the lock around doing it."""

from lpengine.journal.entries import Entry, RunStatus, StepEntry, StepState
from lpengine.journal.host import HostJournal
from lpengine.journal.host_entries import (
    Coming,
    Deed,
    FailedPatch,
    HostEntry,
    HostStep,
    HostStepEntry,
    KeptModule,
    KeptUpdate,
    PendingTask,
    Trial,
)
from lpengine.journal.lock import Holder, lock, lock_holder
from lpengine.journal.steps import decode_plan_steps, decode_step, encode_step
from lpengine.journal.store import BROKEN_OFF, Journal

__all__ = [
    "BROKEN_OFF",
    "Coming",
    "Deed",
    "Entry",
    "FailedPatch",
    "Holder",
    "HostEntry",
    "HostJournal",
    "HostStep",
    "HostStepEntry",
    "Journal",
    "KeptModule",
    "KeptUpdate",
    "PendingTask",
    "RunStatus",
    "StepEntry",
    "StepState",
    "Trial",
    "decode_plan_steps",
    "decode_step",
    "encode_step",
    "lock",
    "lock_holder",
]

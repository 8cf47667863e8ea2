"""What can go wrong, as a tree; a branch is an exit code.

LpengineError                1   unexpected: a defect of lpengine itself
├── UsageError               2   an argument makes no sense
├── NotFoundError            4   no such patch, image, function or machine
├── NotPermittedError        5   the system forbids it
├── LockedError              6   another lpengine is at work (says who)
├── RefusedError            10   cannot be live patched; carries the findings
│   └── BuildError          10   this change cannot become a live patch
├── StalePlanError          12   the target changed since the plan was made
├── InputError              13   a file is not what it claims to be
│   ├── ElfError            13   ... and it is an ELF file; says the offset
│   └── SignatureError      13   an update nobody has signed who is trusted here
├── InconclusiveError       14   too little could be read to decide
├── TargetError             23   the target refused or failed; nothing changed
│   ├── BusyError           12   could not be quiesced in time: try again
│   └── FaultError          23   emulated code faulted
└── StuckError              24   could not be undone; says what is left

Every message is one line that says what and where; `hint` is the way out.
"""

from collections.abc import Sequence
from typing import ClassVar


class LpengineError(Exception):
    """The root: everything lpengine raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(LpengineError):
    """An argument makes no sense."""

    exit_code = 2


class NotFoundError(LpengineError):
    """No such patch, image, function or machine."""

    exit_code = 4


class NotPermittedError(LpengineError):
    """The operating system forbids the action."""

    exit_code = 5


class LockedError(LpengineError):
    """Another lpengine holds the lock; the message names it."""

    exit_code = 6


class RefusedError(LpengineError):
    """The plan says no. `codes` are the codes of the findings that block."""

    exit_code = 10

    def __init__(
        self, message: str, *, codes: Sequence[str] = (), hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.codes = tuple(codes)


class BuildError(RefusedError):
    """This change cannot become a live patch."""


class StalePlanError(LpengineError):
    """The target is no longer in the state the plan was made for."""

    exit_code = 12


class InputError(LpengineError):
    """A file is not what it claims to be."""

    exit_code = 13


class ElfError(InputError):
    """A damaged or hostile ELF file. `offset` is in bytes from its start."""

    def __init__(self, path: str, offset: int, what: str) -> None:
        super().__init__(f"{path}: {what} (at offset {offset:#x})")
        self.path = path
        self.offset = offset


class SignatureError(InputError):
    """An update is not signed, wrongly signed, or by nobody who is trusted here.
    `codes` are the finding's (LP-POL-403 and the like)."""

    def __init__(self, message: str, *, code: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.codes = (code,)


class InconclusiveError(LpengineError):
    """Too little could be read to decide."""

    exit_code = 14


class TargetError(LpengineError):
    """The target refused or failed, and has changed nothing.

    `cause` is the refusal's name (lpengine.patch.xen.refusals) and `errno` the
    symbolic errno that the real hypervisor answers with.
    """

    exit_code = 23

    def __init__(
        self, message: str, *, cause: str = "", errno: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.cause = cause
        self.errno = errno


class BusyError(TargetError):
    """The target could not be quiesced before the deadline."""

    exit_code = 12


class FaultError(TargetError):
    """Emulated code faulted; the machine is as it was before the call.

    `address` is the faulting instruction's; `report` has several lines: symbol,
    access, registers, disassembly around it.
    """

    def __init__(self, message: str, *, address: int, report: str = "") -> None:
        super().__init__(message, cause="fault")
        self.address = address
        self.report = report


class StuckError(LpengineError):
    """A failure could not be undone. `left` names what remains, one thing each."""

    exit_code = 24

    def __init__(
        self, message: str, *, left: Sequence[str] = (), hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.left = tuple(left)

"""What the kernel means by an errno: it tells the reason in its log only.

Messages: kernel/module/main.c, kernel/module/version.c, kernel/livepatch/core.c and
transition.c, as of 6.1; the first one that matches counts.
"""

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from lpengine.errors import TargetError

# (what the log says, the cause)
_MESSAGES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), cause)
    for pattern, cause in (
        (r"version magic '.*' should be '", "vermagic-mismatch"),
        (
            r"disagrees about version of symbol module_layout",
            "module-layout-mismatch",
        ),
        (r"no symbol version for ", "symbol-version-missing"),
        (r"disagrees about version of symbol ", "symbol-version-mismatch"),
        (r"[Uu]nknown symbol ", "unknown-symbol"),
        (r"Loading of .*module.* is rejected", "module-unsigned"),
        (r"Lockdown: .*module loading is restricted", "locked-down"),
        (r"livepatch support is disabled", "no-live-patching"),
        (r"existing value is nonzero", "relocation-target-nonzero"),
        (r"overflow in relocation type ", "relocation-overflow"),
        (r"Unknown rela relocation", "relocation-unsupported"),
        (r"is not marked as a livepatch module", "not-marked-livepatch"),
        (r"invalid access to vmlinux symbol ", "klp-relocation-misfiled"),
        (r"unresolvable ambiguity for symbol ", "symbol-ambiguous"),
        (r"symbol position .* not found", "symbol-position"),
        (r"symbol '.*' not found in symbol table", "klp-symbol-not-found"),
        (r"failed to find location for function ", "function-not-traced"),
        (r"kallsyms size lookup failed for .* replacement", "new-function-unsized"),
        (r"kallsyms size lookup failed for ", "old-function-not-found"),
        (r"failed to register ftrace handler ", "function-hooked"),
        (r"not compatible with the already installed", "states-incompatible"),
        (r"pre-patch callback failed", "hook-veto"),
    )
)

# Where the log says nothing.
_SILENT: dict[int, str] = {
    errno.EEXIST: "name-in-use",
    errno.EPERM: "not-privileged",
    errno.EKEYREJECTED: "module-unsigned",
    errno.ENOMEM: "out-of-memory",
    errno.EBUSY: "busy",
    errno.ENOENT: "unknown-symbol",
    errno.ENOEXEC: "not-elf",
}


@dataclass(frozen=True)
class KernelLog:
    """/dev/kmsg; where that may not be read, causes are told from the errno."""

    path: Path = Path("/dev/kmsg")

    def open(self) -> int | None:
        """A descriptor that will see what is said from now on."""
        try:
            log = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        os.lseek(log, 0, os.SEEK_END)
        return log

    @staticmethod
    def close(log: int | None) -> tuple[str, ...]:
        """The messages since `open`. Each read gives one record: "6,339,514,-;text"
        and lines of context."""
        if log is None:
            return ()
        messages = []
        try:
            while record := os.read(log, 8192):
                head = record.decode(errors="replace").split("\n", 1)[0]
                messages.append(head.partition(";")[2] or head)
        except OSError:
            # EAGAIN: that was the last one. EPIPE: the oldest are lost.
            pass
        finally:
            os.close(log)
        return tuple(messages)


def refusal(name: str, number: int, messages: tuple[str, ...]) -> TargetError:
    """The kernel refused to load the module `name`."""
    cause, said = understood(number, messages)
    symbol = errno.errorcode.get(number, str(number))
    return TargetError(
        f"{name}: the kernel refuses it: {said or os.strerror(number)} ({symbol})",
        cause=cause,
        errno=symbol,
    )


def understood(number: int, messages: tuple[str, ...]) -> tuple[str, str]:
    """(cause, the line of the log that tells it)."""
    for pattern, cause in _MESSAGES:
        for message in messages:
            if pattern.search(message):
                return cause, message.strip()
    return _SILENT.get(number, "refused"), ""

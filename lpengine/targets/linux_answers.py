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
from lpengine.patch.model import Patch

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
        (r": module is already loaded", "name-in-use"),
        (r"module has no symbols \(stripped\?\)", "no-symbol-table"),
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

_SYMBOL = re.compile(r"symbol '(.*)' not found in symbol table")

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


def refusal(patch: Patch, number: int, messages: tuple[str, ...]) -> TargetError:
    """The kernel refused to load the module of `patch`."""
    symbol = errno.errorcode.get(number, str(number))
    cause, said = understood(number, messages)
    if not said:
        # Of what the module itself breaks the kernel says little.
        broken = (each.cause for each in patch.violations if each.errno == symbol)
        cause = next(broken, cause)
    if cause == "klp-symbol-not-found":
        cause = what_is_missing(patch, said)
    why = f"{said or os.strerror(number)} ({symbol})"
    return TargetError(
        f"{patch.name}: the kernel refuses it: {why}", cause=cause, errno=symbol
    )


def what_is_missing(patch: Patch, said: str) -> str:
    """The kernel looks up the symbols of relocations first and then, with the same
    words when it fails, the functions to be redirected (klp_find_object_symbol)."""
    found = _SYMBOL.search(said)
    name = found[1] if found else ""
    for each in patch.klp_relocations:
        if each.symbol and each.symbol.name == name:
            astray = each.symbol.object != each.object
            return "klp-relocation-misfiled" if astray else "klp-symbol-not-found"
    if name in {each.name for each in patch.functions}:
        return "old-function-not-found"
    return "klp-symbol-not-found"


def understood(number: int, messages: tuple[str, ...]) -> tuple[str, str]:
    """(cause, the line of the log that tells it)."""
    for pattern, cause in _MESSAGES:
        for message in messages:
            if pattern.search(message):
                return cause, message.strip()
    return _SILENT.get(number, "refused"), ""

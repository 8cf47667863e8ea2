"""The running Linux kernel as a target: its own live patching, driven.

The kernel switches a patch on as its module comes in, so that `load` only checks
and keeps the module, `apply` brings it in and waits for the transition, `revert`
switches it off and leaves the module behind, and applying it again replaces that
module by a fresh copy (Documentation/livepatch/livepatch.rst, "Livepatch life-cycle").
"""

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from lpengine.core.modules import delete_module, finit_module
from lpengine.errors import BusyError, TargetError
from lpengine.patch.model import Patch
from lpengine.planner.facts import Facts
from lpengine.targets.linux_answers import KernelLog, refusal
from lpengine.targets.linux_facts import Observer, Shown, look
from lpengine.targets.linux_image import KernelFiles
from lpengine.targets.linux_store import Kept, Store
from lpengine.targets.linux_symbols import SymbolTables
from lpengine.targets.linux_tables import Tables
from lpengine.targets.linux_transition import Clock, complete, wait, write
from lpengine.targets.linux_tree import (
    RunningPatch,
    Tree,
    are_modules_disabled,
    boot_id,
    is_tracing,
    running_patch,
)

STATE_DIRECTORY = Path("/var/lib/lpengine/linux")
# A patch that is off keeps its module for an instant; the kernel lets go of it in
# the background (klp_free_patch_work_fn).
LETTING_GO = timedelta(seconds=2)
CAP_SYS_MODULE = 1 << 16


@dataclass(frozen=True)
class Loader:
    """How modules come into the kernel and leave it; `OSError` with its errno where
    it refuses."""

    insert: Callable[[Path], None] = finit_module
    remove: Callable[[str], None] = delete_module


@dataclass(frozen=True)
class Kernel:
    """The running kernel, as far as it can be replaced by a double."""

    tree: Tree = field(default_factory=Tree)
    loader: Loader = field(default_factory=Loader)
    clock: Clock = field(default_factory=Clock)
    log: KernelLog = field(default_factory=KernelLog)


class LinuxTarget:
    """`read` makes a patch of a module's bytes and name. `image` is the running
    kernel's vmlinuz or vmlinux where it is not in /boot; it is needed to foresee
    refusals, not to patch."""

    def __init__(
        self,
        read: Callable[[bytes, str], Patch],
        *,
        image: Path | None = None,
        state_directory: Path = STATE_DIRECTORY,
        kernel: Kernel | None = None,
    ) -> None:
        self._kernel = kernel or Kernel()
        self._tree = self._kernel.tree
        self._read = read
        self._name = f"linux:{image}" if image else "linux"
        self._state_directory = state_directory
        self._boot = boot_id(self._tree)
        self._patches: dict[str, Patch] = {}
        self._store = Store(state_directory, self._boot)
        self._observer = Observer(
            self._tree,
            self._name,
            self._boot,
            KernelFiles(self._tree, state_directory, image),
            SymbolTables(self._tree, Tables(state_directory, self._boot)),
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def state_directory(self) -> Path:
        return self._state_directory

    def facts(self, patches: Sequence[Patch] = ()) -> Facts:
        """What is so now; looking changes nothing. Symbols and stacks are read only
        where there are patches to ask for."""
        return self._observer.facts(self._look(), patches, privileged=privileged())

    def load(self, patch: Patch) -> None:
        """Checks the module as far as that goes without the kernel, and keeps it."""
        for violation in patch.violations:
            raise TargetError(
                f"{patch.name}: {violation.subject}: {violation.observed}",
                cause=violation.cause,
                errno=violation.errno,
            )
        if not self._tree.livepatch.is_dir():
            raise TargetError(
                "this kernel has no live patching",
                cause="no-live-patching",
                errno="ENOEXEC",
                hint="it has to be built with CONFIG_LIVEPATCH",
            )
        shown = self._look()
        if patch.name in shown.names or shown.module(patch.name):
            raise TargetError(
                f"{patch.name}: a module of that name is loaded",
                cause="name-in-use",
                errno="EEXIST",
                hint=f"unload {patch.name} first",
            )
        self._store.keep(patch)
        self._patches[patch.name] = patch

    def apply(
        self,
        name: str,
        timeout: timedelta,
        *,
        nodeps: bool = False,
        force: bool = False,
    ) -> None:
        """Bring the module in and wait until every task runs the new code.
        `BusyError` names those that hold it up, and the patch is off again. `force`
        switches them regardless, which may crash the kernel. `nodeps` has no meaning
        here: patches do not name what lies below."""
        self._apply(name, timeout, force)

    def _apply(self, name: str, timeout: timedelta, force: bool) -> bool:
        """Whether it had to be forced."""
        self._require_idle(name)
        kept = self._require_kept(name)
        if self._running(name) is not None:
            raise wrong_state(name, "it is applied already")
        self._drop_module(kept)
        self._insert(kept)
        patch = self._running(name)
        if patch is None:
            self._remove_quietly(name)
            raise wrong_state(name, "its module came in and enabled no patch")
        return self._finish_applying(patch, timeout, force)

    def revert(self, name: str, timeout: timedelta, *, force: bool = False) -> None:
        """Switch the patch off and wait until no task runs its code. The module
        stays; on failure the patch is on again. `force` as in `apply`, and then the
        kernel never lets go of the module (klp_force_transition). One that is still on
        its way on, or off, because a process has died over it, goes off."""
        patch = self._running(name)
        if patch is None:
            raise wrong_state(name, "it is not applied")
        if not patch.transition:
            self._require_idle(name)
        if patch.enabled:
            write(self._tree, name, "enabled", "0")
        patch = self._running(name)
        going = patch if patch is not None and not patch.enabled else None
        clock = self._kernel.clock
        if going and complete(self._tree, clock, going, timeout, force):
            self._store.mark(name, pinned=True)
        if self._running(name) is not None:
            raise wrong_state(name, "the kernel took the request and left it on")
        self._store.mark(name, reverted=True)

    def replace(self, name: str, timeout: timedelta, *, force: bool = False) -> None:
        """As `apply`, and in the same transition everything else goes off: `force`
        keeps their modules in the kernel. This one must have been built for that."""
        self._require_kept(name)
        if not self.module(name).replace:
            raise TargetError(
                f"{name}: it was not built to replace others",
                cause="not-cumulative",
                errno="EINVAL",
                hint="build it with --atomic-replace, or revert the others first",
            )
        before = self._look().applied
        forced = self._apply(name, timeout, force)
        for other in before:
            if self._running(other) is not None:
                raise wrong_state(other, f"{name} did not replace it")
            self._store.mark(other, reverted=True, pinned=forced or None)

    def unload(self, name: str) -> None:
        """Take a module that is off out of the kernel, and forget it."""
        shown = self._look()
        if name in shown.running:
            raise TargetError(
                f"{name}: it is applied",
                cause="unload-applied",
                errno="EAGAIN",
                hint=f"revert it first: lpengine revert {name}",
            )
        if name not in shown.names:
            raise TargetError(
                f"{name}: no such patch is loaded", cause="not-found", errno="ENOENT"
            )
        if shown.module(name) is not None:
            self._remove(name)
        self._store.forget(name)

    def module(self, name: str) -> Patch:
        raw = self._store.raw(name)
        known = self._patches.get(name)
        if known is None or known.raw != raw:
            known = self._patches[name] = self._read(raw, name)
        return known

    def _look(self) -> Shown:
        return look(self._tree, self._store.kept())

    def _running(self, name: str) -> RunningPatch | None:
        return running_patch(self._tree, name)

    def _require_idle(self, name: str) -> None:
        """One transition at a time, system-wide (klp_transition_patch)."""
        other = self._look().in_transition
        if other:
            raise BusyError(
                f"{name}: a transition of {other} is under way",
                cause="busy",
                errno="EBUSY",
                hint=f"wait until {other} has settled",
            )

    def _require_kept(self, name: str) -> Kept:
        kept = self._store.find(name)
        if kept is None:
            raise TargetError(
                f"{name}: no such patch was loaded by lpengine",
                cause="not-found",
                errno="ENOENT",
            )
        # Not what somebody else has put in its place.
        self._store.raw(name)
        return kept

    def _drop_module(self, kept: Kept) -> None:
        """What is left of an earlier time that the patch was on."""
        if self._look().module(kept.name) is not None:
            self._remove(kept.name)

    def _insert(self, kept: Kept) -> None:
        log = self._kernel.log.open()
        try:
            self._kernel.loader.insert(self._store.path(kept.name))
        except OSError as error:
            messages = self._kernel.log.close(log)
            refused = refusal(self.module(kept.name), error.errno or 0, messages)
            refused.cause = self._in_these_surroundings(refused.cause)
            raise refused from error
        self._kernel.log.close(log)

    def _in_these_surroundings(self, cause: str) -> str:
        """What the kernel says in the same way for two reasons."""
        if cause == "function-hooked" and not is_tracing(self._tree):
            return "tracing-disabled"
        if cause == "not-privileged" and are_modules_disabled(self._tree):
            return "modules-disabled"
        return cause

    def _finish_applying(
        self, patch: RunningPatch, timeout: timedelta, force: bool
    ) -> bool:
        try:
            forced = complete(self._tree, self._kernel.clock, patch, timeout, force)
        except BusyError:
            self._remove_quietly(patch.name)
            raise
        self._store.mark(patch.name, reverted=False)
        return forced

    def _remove_quietly(self, name: str) -> None:
        """It is off: should it not go, it is in nobody's way."""
        with suppress(TargetError):
            self._remove(name)

    def _remove(self, name: str) -> None:
        """`TargetError` where the kernel does not let go of it."""
        refused: list[OSError] = []

        def gone() -> bool:
            try:
                self._kernel.loader.remove(name)
            except OSError as error:
                refused[:] = [error]
                return error.errno not in (errno.EAGAIN, errno.EBUSY)
            refused.clear()
            return True

        wait(gone, self._kernel.clock, LETTING_GO)
        if refused and refused[0].errno != errno.ENOENT:
            raise not_let_go(name, refused[0])


def not_let_go(name: str, error: OSError) -> TargetError:
    if error.errno == errno.EPERM:
        return TargetError(
            f"{name}: this caller may not unload modules",
            cause="not-privileged",
            errno="EPERM",
            hint="run it as root",
        )
    return TargetError(
        f"{name}: the kernel does not let go of its module ({error.strerror})",
        cause="pinned",
        errno=errno.errorcode.get(error.errno or 0, ""),
        hint="a forced transition pins modules until the next boot",
    )


def wrong_state(name: str, why: str) -> TargetError:
    return TargetError(f"{name}: {why}", cause="wrong-state", errno="EINVAL")


def privileged() -> bool:
    """Whether this process may load modules."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return os.geteuid() == 0
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) & CAP_SYS_MODULE)
    return os.geteuid() == 0

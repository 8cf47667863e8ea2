"""The verbs on a machine's live patches, with the hypervisor's rules (Xen 4.17,
livepatch_action) and without its known defects."""

from collections.abc import Iterable
from datetime import timedelta

from lpengine.core import Site
from lpengine.loader.expectations import check_expectations
from lpengine.loader.hooks import run_deciding_hooks, run_hooks
from lpengine.loader.names import Names
from lpengine.loader.prepare import DECODED, check_nop
from lpengine.loader.quiesce import BusyCode, quiesce
from lpengine.loader.refusing import refusal
from lpengine.loader.stack import Loaded, Stack, decode_stack, encode_stack
from lpengine.loader.upload import upload
from lpengine.machine.base import Machine
from lpengine.patch.model import HookKind, Patch
from lpengine.patch.xen.reader import read_payload
from lpengine.planner.facts import PatchState

DEFAULT_TIMEOUT = timedelta(seconds=1)


class Loader:
    """Loads, applies, reverts, replaces and unloads patches on one machine.

    A verb succeeds, or raises `TargetError` with the refusal's cause and Xen's
    errno and has changed nothing (CPUs that are inside a call may have run on
    while the loader waited for them). What is loaded is kept in the machine's
    record and is found again by the next Loader for it.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._record: bytes | None = None
        self._stack = Stack()
        self._modules: dict[str, Patch] = {}
        # Faults in patch code are then reported by the patch's own symbols.
        machine.symbolize = self.symbolize

    @property
    def stack(self) -> Stack:
        """`InputError` where the machine's record is damaged."""
        record = self.machine.record
        if record != self._record:
            self._stack = decode_stack(record, self.machine.name)
            self._record = record
            self._modules = {}
        return self._stack

    @property
    def patches(self) -> tuple[Loaded, ...]:
        """The loaded patches, in load order."""
        return self.stack.loaded

    @property
    def applied(self) -> tuple[str, ...]:
        """The applied patches' names, bottom of the stack first."""
        return self.stack.applied

    @property
    def names(self) -> Names:
        """Names and addresses as they are now, loaded patches' symbols included."""
        return Names(self.machine.image, self.stack.loaded)

    def symbolize(self, address: int) -> str:
        """ "name+0x12 [patch]" for an address in a loaded patch, else ""."""
        if any(p.start <= address < p.start + p.size for p in self.patches):
            return self.names.describe(address)
        return ""

    def module(self, name: str) -> Patch:
        """A loaded patch with the bytes it was loaded from."""
        loaded = self._find(name)
        if name not in self._modules:
            self._modules[name] = read_payload(loaded.raw, name)
        return self._modules[name]

    def load(self, patch: Patch) -> None:
        """Puts a patch into memory, checked and not yet applied."""
        with self.machine.transaction():
            loaded = upload(patch, self.machine, self.stack)
            self._store(self.stack.with_loaded(loaded))

    def apply(
        self,
        name: str,
        timeout: timedelta = DEFAULT_TIMEOUT,
        *,
        nodeps: bool = False,
    ) -> None:
        """Redirects a loaded patch's functions, on top of the applied ones."""
        loaded = self._check_apply(name, nodeps=nodeps)
        self._quiesce(self._changed_code([loaded]), timeout)
        with self.machine.transaction():
            self._check_apply(name, nodeps=nodeps)
            run_deciding_hooks(self.machine, loaded, HookKind.PREAPPLY)
            self._redirect(loaded)
            run_hooks(self.machine, loaded, HookKind.POSTAPPLY)

    def revert(self, name: str, timeout: timedelta = DEFAULT_TIMEOUT) -> None:
        """Takes back the patch that was applied last."""
        loaded = self._check_revert(name)
        self._quiesce(self._leaving_code([loaded]), timeout)
        with self.machine.transaction():
            self._check_revert(name)
            run_deciding_hooks(self.machine, loaded, HookKind.PREREVERT)
            self._take_back(loaded)
            run_hooks(self.machine, loaded, HookKind.POSTREVERT)

    def replace(self, name: str, timeout: timedelta = DEFAULT_TIMEOUT) -> None:
        """Takes back every applied patch and applies this one, all or nothing:
        where Xen leaves the system unpatched because an expectation fails, every
        patch stays applied here."""
        loaded = self._check_replace(name)
        applied = self.stack.applied_patches
        code = [*self._changed_code([loaded]), *self._leaving_code(applied)]
        self._quiesce(code, timeout)
        with self.machine.transaction():
            self._check_replace(name)
            for other in reversed(applied):
                self._take_back(other)
            self._check_code(loaded)
            self._redirect(loaded)

    def unload(self, name: str) -> None:
        """Frees a patch that is not applied."""
        loaded = self._find(name)
        if loaded.state is not PatchState.CHECKED:
            raise refusal("unload-applied", f"{name}: is applied, revert it first")
        with self.machine.transaction():
            self.machine.free(loaded.start)
            self._store(self.stack.without(name))

    def _find(self, name: str) -> Loaded:
        loaded = self.stack.find(name)
        if loaded is None:
            raise refusal("not-found", f"{name}: no such patch on {self.machine.name}")
        return loaded

    def _store(self, stack: Stack) -> None:
        self.machine.record = encode_stack(stack)

    def _in_state(self, name: str, state: PatchState, verb: str) -> Loaded:
        """Xen answers success and does nothing (DEFECTS, wrong-state)."""
        loaded = self._find(name)
        if loaded.state is not state:
            raise refusal(
                "wrong-state", f"{name}: is {loaded.state}, {verb} needs {state}"
            )
        return loaded

    def _check_apply(self, name: str, *, nodeps: bool) -> Loaded:
        loaded = self._in_state(name, PatchState.CHECKED, "apply")
        if loaded.reverted and not self.module(name).safe_to_reapply:
            raise refusal(
                "reapply-with-data",
                f"{name}: was applied before and has data of its own: unload and load"
                " it first",
            )
        if not nodeps:
            self._check_depends(loaded, self.stack.applied_patches[-1:])
        self._check_code(loaded)
        return loaded

    def _check_depends(self, loaded: Loaded, top: tuple[Loaded, ...]) -> None:
        needed = top[0].build_id if top else self.machine.image.image.build_id
        below = top[0].name if top else "the image"
        if loaded.depends != needed:
            raise refusal(
                "depends-mismatch",
                f"{loaded.name}: made to go on {loaded.depends or '(none)'}, but"
                f" {below} is {needed or '(none)'}",
            )

    def _check_code(self, loaded: Loaded) -> None:
        """Looks at the live bytes; for replace, after all else was taken back."""
        check_expectations(self.machine, self.module(loaded.name), loaded)
        for function in loaded.functions:
            if not function.new_address:
                size = min(function.old_size, DECODED)
                code = self.machine.read(function.old_address, size)
                check_nop(function, code, loaded.name)

    def _check_revert(self, name: str) -> Loaded:
        loaded = self._in_state(name, PatchState.APPLIED, "revert")
        top = self.stack.applied[-1]
        if top != name:
            raise refusal(
                "not-top", f"{name}: {top} was applied after it: revert {top} first"
            )
        return loaded

    def _check_replace(self, name: str) -> Loaded:
        loaded = self._in_state(name, PatchState.CHECKED, "replace")
        self._check_depends(loaded, ())
        for other in (loaded, *self.stack.applied_patches):
            vetoing = [hook.kind for hook in other.hooks if hook.kind.vetoing]
            if vetoing:
                raise refusal(
                    "replace-vetoing-hooks",
                    f"{name}: cannot replace, {other.name} has a {vetoing[0]} hook",
                )
        return loaded

    def _quiesce(self, code: Iterable[BusyCode], timeout: timedelta) -> None:
        """Outside of the transaction: what CPUs do while they run on is theirs and
        stays, also where the deadline passes."""
        quiesce(self.machine, self.names, tuple(code), timeout)

    def _changed_code(self, patches: Iterable[Loaded]) -> list[BusyCode]:
        """The functions of these patches, and what applied patches have put in
        their places."""
        changed = [function for patch in patches for function in patch.functions]
        starts = {function.old_address for function in changed}
        code = [BusyCode(function.name, function.span) for function in changed]
        for patch in self.stack.applied_patches:
            if any(function.old_address in starts for function in patch.functions):
                code.append(BusyCode(f"patch {patch.name}", patch.text))
        return code

    def _leaving_code(self, patches: Iterable[Loaded]) -> list[BusyCode]:
        patches = tuple(patches)
        texts = [BusyCode(f"patch {patch.name}", patch.text) for patch in patches]
        return [*self._changed_code(patches), *texts]

    def _redirect(self, loaded: Loaded) -> None:
        """An apply hook that says 0 has done the work itself (its payload handle is
        opaque), so nothing is redirected on top of that."""
        if run_deciding_hooks(self.machine, loaded, HookKind.APPLY):
            self._store(self.stack.with_applied(loaded.name, ()))
            return
        run_hooks(self.machine, loaded, HookKind.LOAD)
        sites = [
            Site(
                address=function.old_address,
                target=function.new_address,
                room=function.old_size,
                nop_size=0 if function.new_address else function.new_size,
            )
            for function in loaded.functions
        ]
        done = self.machine.redirect(sites) if sites else ()
        self._store(self.stack.with_applied(loaded.name, done))

    def _take_back(self, loaded: Loaded) -> None:
        """In reverse order, which Xen does not (DEFECTS, function-twice). A revert
        hook that says 0 has done the work; redirections that it left are taken
        back all the same, since the code behind them may go away."""
        hooked = run_deciding_hooks(self.machine, loaded, HookKind.REVERT)
        left = [
            done
            for done in loaded.redirections
            if not hooked
            or self._is_installed(done.site.address + done.offset, done.installed)
        ]
        if left:
            self.machine.take_back(left)
        if not hooked:
            run_hooks(self.machine, loaded, HookKind.UNLOAD)
        self._store(self.stack.with_reverted(loaded.name))

    def _is_installed(self, address: int, installed: bytes) -> bool:
        return self.machine.read(address, len(installed)) == installed

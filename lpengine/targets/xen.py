"""The running Xen, from its own dom0, as a target."""

import errno
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from lpengine.core.hypercall import NODEPS, Action, Listed, Progress
from lpengine.errors import NotFoundError, NotPermittedError, TargetError
from lpengine.patch.model import Patch
from lpengine.planner.facts import Facts
from lpengine.targets.base import require_no_force
from lpengine.targets.xen_answers import (
    action_refused,
    not_in_state,
    said_of,
    unreachable,
    upload_refused,
)
from lpengine.targets.xen_facts import Observer
from lpengine.targets.xen_store import Memory, Store

# How long Xen may wait for its CPUs, attempt by attempt; its field is 32 bits of
# nanoseconds. Where the caller has more time, the last is repeated.
LADDER = (0.03, 0.2, 1.0, 4.0)
# An action that Xen refuses because another is under way is tried again this soon.
_PAUSE = 0.005
_POLLS = (0.0002, 0.0005, 0.001, 0.002, 0.005)
# What Xen may take for an action beyond its timeout: hooks, and a TLB flush.
_GRACE = 5.0
_WANTED_APPLIED = {Action.APPLY: False, Action.REPLACE: False, Action.REVERT: True}


class Calls(Protocol):
    """Xen's live patching (lpengine.core.hypercall.Hypervisor, or a stand-in)."""

    def upload(self, name: str, payload: bytes) -> None: ...

    def get(self, name: str) -> Progress: ...

    def act(
        self, name: str, action: Action, timeout_ns: int = 0, flags: int = 0
    ) -> None: ...

    def payloads(self) -> tuple[Listed, ...]: ...

    def console(self, index: int = 0) -> tuple[bytes, int]: ...

    def build_id(self) -> str: ...

    def cpus(self) -> int: ...


class XenTarget:
    """Live patches of the running hypervisor. `observer` looks, `store` remembers;
    `clock` and `sleep` are in seconds."""

    name = "xen"

    def __init__(
        self,
        open_calls: Callable[[], Calls],
        store: Store,
        observer: Observer,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._open_calls = open_calls
        self._opened: Calls | None = None
        self._store = store
        self._observer = observer
        self._clock = clock
        self._sleep = sleep
        self._console_index: int | None = None

    @property
    def state_directory(self) -> Path:
        return self._store.directory

    def facts(self, patches: Sequence[Patch] = ()) -> Facts:
        """What is so now; looking changes nothing. Where Xen cannot be asked, the
        capabilities say why."""
        try:
            listed = self._settled()
        except OSError as error:
            return self._observer.nothing(error)
        return self._observer.facts(listed, self._memory(listed), patches)

    def load(self, patch: Patch) -> None:
        """The module is kept before Xen has it, so that it can be had back
        whenever Xen has it."""
        calls, before = self._ready(), self._memory(self._asked())
        self._store.keep(patch)
        self._store.remember(before.loading(patch.name, patch.sha256))
        try:
            calls.upload(patch.name, patch.raw)
        except OSError as error:
            self._store.remember(before)
            raise upload_refused(
                patch, error.errno or 0, self._said(patch.name), before.modules
            ) from error

    def apply(
        self,
        name: str,
        timeout: timedelta,
        *,
        nodeps: bool = False,
        force: bool = False,
    ) -> None:
        require_no_force(name, force)
        self._change(name, Action.APPLY, timeout, NODEPS if nodeps else 0)

    def revert(self, name: str, timeout: timedelta, *, force: bool = False) -> None:
        require_no_force(name, force)
        self._change(name, Action.REVERT, timeout)

    def replace(self, name: str, timeout: timedelta, *, force: bool = False) -> None:
        require_no_force(name, force)
        self._change(name, Action.REPLACE, timeout)

    def unload(self, name: str) -> None:
        calls = self._ready()
        memory = self._memory(self._asked())
        self._retrying(lambda: calls.act(name, Action.UNLOAD), name, Action.UNLOAD, 1.0)
        self._store.remember(memory.forgetting(name))

    def module(self, name: str) -> Patch:
        """Xen gives no bytes back: only what this engine loaded since the boot."""
        memory = self._memory(self._asked())
        if name not in memory.modules:
            raise NotFoundError(
                f"{name}: its module is not at hand: another program loaded it, or it"
                " is not loaded",
                hint="have its file to take it out and in again",
            )
        return self._store.module(name, memory.modules[name])

    # Asking

    def _ready(self) -> Calls:
        try:
            return self._calls()
        except OSError as error:
            raise unreachable(error) from error

    def _calls(self) -> Calls:
        if self._opened is None:
            self._opened = self._open_calls()
            # So that later only what is printed from here on is read.
            self._console_index = self._read_console(self._opened)[1]
        return self._opened

    def _asked(self) -> tuple[Listed, ...]:
        try:
            return self._calls().payloads()
        except OSError as error:
            raise unreachable(error) from error

    def _settled(self) -> tuple[Listed, ...]:
        """The payloads, once no action is under way, or none ends any more: Xen
        leaves EAGAIN behind where an action could not even be begun."""
        deadline = self._clock() + _GRACE
        listed = self._calls().payloads()
        while self._clock() < deadline and _under_way(listed):
            self._sleep(_POLLS[-1])
            listed = self._calls().payloads()
        return listed

    def _memory(self, listed: Sequence[Listed]) -> Memory:
        """What is remembered, as far as Xen's list bears it out."""
        return self._observer.agreed(self._store.memory(), listed, self._store)

    # Acting

    def _change(
        self, name: str, action: Action, timeout: timedelta, flags: int = 0
    ) -> None:
        calls = self._ready()
        memory = self._memory(self._asked())
        self._require_state(calls, name, action)
        self._climb(calls, name, action, timeout.total_seconds(), flags)
        applied = self._asked()
        if self._is_applied(applied, name) is _WANTED_APPLIED[action]:
            raise not_in_state(name, action, _WANTED_APPLIED[action])
        self._store.remember(memory.applying(_stack(memory, name, action, applied)))

    def _require_state(self, calls: Calls, name: str, action: Action) -> None:
        try:
            now = calls.get(name)
        except OSError as error:
            raise action_refused(name, action, error.errno or 0, ()) from error
        if now.applied is not _WANTED_APPLIED[action]:
            raise not_in_state(name, action, now.applied)

    def _climb(
        self, calls: Calls, name: str, action: Action, seconds: float, flags: int
    ) -> None:
        """Attempt after attempt, each with more patience, until the time is up."""
        deadline = self._clock() + seconds
        attempt = 0
        while True:
            left = max(deadline - self._clock(), 0.0)
            patience = min(LADDER[min(attempt, len(LADDER) - 1)], left or LADDER[0])
            number = self._attempt(calls, name, action, patience, flags)
            if not number:
                return
            error = action_refused(name, action, number, self._said(name))
            hopeless = error.cause in ("not-top", "waitqueue-active")
            if number != errno.EBUSY or hopeless or self._clock() >= deadline:
                raise error
            if error.cause == "busy":
                self._sleep(_PAUSE)
            attempt += 1

    def _attempt(
        self, calls: Calls, name: str, action: Action, patience: float, flags: int
    ) -> int:
        """One hypercall and its outcome; 0 or an errno."""
        try:
            calls.act(name, action, max(int(patience * 1e9), 1), flags)
        except OSError as error:
            return error.errno or errno.EIO
        return self._outcome(calls, name, patience + _GRACE)

    def _outcome(self, calls: Calls, name: str, seconds: float) -> int:
        deadline = self._clock() + seconds
        polls = 0
        while True:
            progress = calls.get(name)
            if progress.result != errno.EAGAIN:
                return progress.result
            if self._clock() >= deadline:
                raise TargetError(
                    f"{name}: Xen has not ended the action in {seconds:g} s",
                    cause="busy",
                    errno="EAGAIN",
                    hint="look with: lpengine status",
                )
            self._sleep(_POLLS[min(polls, len(_POLLS) - 1)])
            polls += 1

    def _retrying(
        self, call: Callable[[], None], name: str, action: Action, seconds: float
    ) -> None:
        deadline = self._clock() + seconds
        while True:
            try:
                return call()
            except OSError as error:
                if error.errno != errno.EBUSY or self._clock() >= deadline:
                    number = error.errno or 0
                    raise action_refused(
                        name, action, number, self._said(name)
                    ) from error
            self._sleep(_PAUSE)

    def _said(self, name: str) -> tuple[str, ...]:
        if self._opened is None:
            return ()
        text, self._console_index = self._read_console(self._opened)
        return said_of(text, name)

    def _read_console(self, calls: Calls) -> tuple[bytes, int | None]:
        """Evidence, and no more than that: a policy may forbid to read it."""
        try:
            return calls.console(self._console_index or 0)
        except (OSError, NotPermittedError):
            return b"", self._console_index

    @staticmethod
    def _is_applied(listed: Sequence[Listed], name: str) -> bool:
        return any(one.applied for one in listed if one.name == name)


def _under_way(listed: Sequence[Listed]) -> bool:
    return any(one.result == errno.EAGAIN for one in listed)


def _stack(
    memory: Memory, name: str, action: Action, listed: Sequence[Listed]
) -> tuple[str, ...]:
    """The applied payloads after an action, bottom first, as far as Xen says."""
    now = {one.name for one in listed if one.applied}
    below = tuple(one for one in memory.applied if one in now and one != name)
    return below if action is Action.REVERT else (*below, name)

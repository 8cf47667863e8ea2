"""One host of a run: looked at once more, emptied where it will reboot, updated, its
tasks carried out, read back, and put into service again."""

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace

from lpengine.errors import (
    InconclusiveError,
    LpengineError,
    RefusedError,
    StalePlanError,
    TargetError,
)
from lpengine.hosts import HostError
from lpengine.package.model import Level, Task
from lpengine.planner.plan import Verdict
from lpengine.planner.updates.decide import decide_host
from lpengine.planner.updates.plan import HostPlan, HostTask, Precheck
from lpengine.planner.updates.state import HostState, Mode
from lpengine.pool.acting import Hands, NoCommand
from lpengine.pool.commands import BRING_BACK, DISABLE, ENABLE
from lpengine.pool.context import Cancelled, Context
from lpengine.pool.gather import Observed, again
from lpengine.pool.installing import Installed
from lpengine.pool.outcome import HostEnded, HostOutcome, Phase, Status
from lpengine.pool.past import named, past_of
from lpengine.pool.record import Kind, Line
from lpengine.targets.host.engine import clear

# What a toolstack may take until it answers again.
_SETTLE_SECONDS = 600.0
NOTHING_MORE = Line()
# What a host cannot notice by itself was done to it.
_NOTED = (Task.RESTART_TOOLSTACK, Task.RESTART_PROCESS)


class HostRun:
    """`observed` is the pool as the plan was made for it, and later as it was seen
    last: what was open to a host before its reboot is of no use after it."""

    def __init__(self, context: Context, observed: Observed, plan: HostPlan) -> None:
        self._context = context
        self.observed = observed
        self._plan = plan
        self._past = past_of(context.record.of(plan.pool, plan.host))
        self._policy = context.policy(plan.pool)
        self._automatic = self._policy.mode is Mode.AUTOMATIC
        self._closed = self._past.closed
        self._guests = self._past.guests

    def carry_out(self) -> HostOutcome:
        """Whatever goes wrong is its outcome."""
        try:
            outcome = self._all()
            self._context.record.write(self._about(ending_of(outcome)))
        except LpengineError as error:
            stopped = isinstance(error, Cancelled)
            status = Status.CANCELLED if stopped else Status.FAILED
            outcome = HostOutcome(
                self._plan.host, status, closed=self._closed, error=error
            )
        self._context.notify(HostEnded(self._plan.pool, outcome))
        return outcome

    def _all(self) -> HostOutcome:
        with self._phase(Phase.CHECK):
            plan = self._checked()
        if plan.verdict is Verdict.NOTHING and not self._past.begun:
            return HostOutcome(plan.host, Status.NOTHING, left=plan.after)
        if self._has_to_leave(plan):
            self._leave(plan)
        installed, owed = Installed(), self._past.owed
        if plan.verdict is Verdict.READY:
            owed = each_once(owed, self._plan.after, plan.after)
            installed = self._install(plan, owed)
        if self._automatic:
            owed = self._carry_out_tasks(owed)
        failed = tuple(component for component, _ in installed.failed)
        with self._phase(Phase.VERIFY):
            left = self._left(owed, failed)
        if self._automatic and self._closed:
            self._return()
        return HostOutcome(
            plan.host, Status.DONE, left=left, failed=failed, closed=self._closed
        )

    # What each step does, in their order.

    def _checked(self) -> HostPlan:
        """The plan for the host as it is now. Until something is done to it, it has
        to be the one that was shown."""
        self._look()
        plan = self._decided()
        if not self._past.begun and self._differs(plan):
            raise StalePlanError(
                f"{plan.host} is no longer in the state that the plan was made for",
                hint="plan again",
            )
        if plan.verdict is Verdict.REFUSED:
            checks = [check for check in plan.prechecks if check.blocks]
            raise RefusedError(
                f"{plan.host}: {'; '.join(map(said, checks))}",
                codes=[check.code for check in checks],
            )
        return plan

    def _differs(self, plan: HostPlan) -> bool:
        return (plan.updates_digest, plan.state_digest) != (
            self._plan.updates_digest,
            self._plan.state_digest,
        )

    def _has_to_leave(self, plan: HostPlan) -> bool:
        """Guests leave before an update that asks for it, whoever reboots; a host that
        will be rebooted is taken out of service even if it has none."""
        rebooting = (*plan.after, *self._past.owed)
        reboots = any(
            one.task is Task.REBOOT_HOST and self._policy.carries_out(one.level)
            for one in rebooting
        )
        return not self._closed and bool(plan.before or (reboots and self._automatic))

    def _leave(self, plan: HostPlan) -> None:
        """A host that somebody has taken out of service already stays so."""
        state, hands = self._state(), self._hands()
        guests = tuple(
            guest.name for guest in state.guests or () if not guest.control_domain
        )
        with self._phase(Phase.EVACUATE, Line(guests=guests, closed=not state.enabled)):
            self._closed, self._guests = state.enabled, guests
            if state.enabled:
                hands.do(DISABLE, plan.host)
            if plan.before:
                hands.do(Task.EVACUATE_HOST, plan.host)

    def _install(self, plan: HostPlan, owed: tuple[HostTask, ...]) -> Installed:
        line = Line(tasks=owed, boot_id=self._state().boot_id)
        config = self.observed.config.host(plan.host)
        host = self.observed.hosts[plan.host]
        with self._phase(Phase.INSTALL, line):
            return self._context.install(
                host, config, self._context.bundles, plan, self._policy
            )

    def _carry_out_tasks(self, tasks: Iterable[HostTask]) -> tuple[HostTask, ...]:
        """Those that nobody has said how to do are left, and those of a level that is
        not asked for; a reboot that has taken place meanwhile is done."""
        left = []
        for task in tasks:
            if task.task is Task.REBOOT_HOST and self._has_booted():
                continue
            if not self._policy.carries_out(task.level):
                left.append(task)
                continue
            try:
                with self._phase(Phase.TASK, Line(detail=named(task))):
                    self._carry_out(task)
            except NoCommand:
                left.append(task)
        return tuple(left)

    def _carry_out(self, task: HostTask) -> None:
        hands = self._hands()
        if task.task is Task.REBOOT_HOST:
            hands.reboot(self._plan.host)
        else:
            hands.do(task.task, self._plan.host, task.target)
            if task.task in _NOTED:
                config = self.observed.config.host(self._plan.host)
                clear(self.observed.hosts[self._plan.host], config.place, task.task)
        self._settle()

    def _left(
        self, owed: Iterable[HostTask], failed: tuple[str, ...]
    ) -> tuple[HostTask, ...]:
        """Reads back: `TargetError` where something is not there that was put there.
        What remains is what was not done, and what the host itself remembers."""
        self._look()
        plan = self._decided()
        missing = [one.component for one in plan.apply if one.component not in failed]
        if plan.install or missing:
            raise TargetError(
                f"{plan.host} was updated, but reading back it still lacks "
                f"{', '.join((*plan.install, *missing))}",
                cause="read-back",
                hint="the same command tries again",
            )
        reboot = HostTask(Task.REBOOT_HOST, "", Level.RECOMMENDED)
        return each_once(owed, plan.after, (reboot,) if failed else ())

    def _return(self) -> None:
        """In service again; the guests that had left it come back."""
        hands = self._hands()
        with self._phase(Phase.ENABLE):
            hands.do(ENABLE, self._plan.host)
            self._closed = False
            here = {guest.name for guest in self._state().guests or ()}
            if hands.can(BRING_BACK):
                for guest in self._guests:
                    if guest not in here:
                        hands.do(BRING_BACK, self._plan.host, guest)

    # What the steps share.

    def _phase(
        self, phase: Phase, line: Line = NOTHING_MORE
    ) -> AbstractContextManager[None]:
        return self._context.phase(phase, self._about(line))

    def _about(self, line: Line) -> Line:
        return replace(line, pool=self._plan.pool, host=self._plan.host)

    def _look(self) -> None:
        self.observed = again(
            self.observed,
            self._plan.host,
            self._context.ids,
            opener=self._context.opener,
        )
        wrong = self.observed.silent.get(self._plan.host) or self.observed.mute
        if wrong is not None:
            raise wrong

    def _settle(self) -> None:
        """Looks until host and toolstack answer."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            try:
                return self._look()
            except (HostError, InconclusiveError):
                if time.monotonic() > deadline:
                    raise
            time.sleep(self._context.poll)

    def _state(self) -> HostState:
        hosts = self.observed.state.hosts
        return next(host for host in hosts if host.name == self._plan.host)

    def _decided(self) -> HostPlan:
        return decide_host(
            self._context.updates,
            self._state(),
            self.observed.state,
            self._policy,
        )

    def _has_booted(self) -> bool:
        """Since the updates went onto its disk."""
        past = self._past
        return past.installed and self._state().boot_id != past.boot_id

    def _hands(self) -> Hands:
        return Hands(self.observed, self._context.opener, self._context.poll)


def ending_of(outcome: HostOutcome) -> Line:
    return Line(
        Kind.HOST_ENDED,
        detail=outcome.status,
        tasks=outcome.left,
        failed=outcome.failed,
        closed=outcome.closed,
    )


def ended(line: Line) -> HostOutcome:
    """The outcome of a host that an earlier part of the run got through with."""
    return HostOutcome(
        line.host, Status(line.detail), line.tasks, line.failed, line.closed
    )


def each_once(*tasks: Iterable[HostTask]) -> tuple[HostTask, ...]:
    """As the first says that has it."""
    found: dict[tuple[Task, str], HostTask] = {}
    for one in (task for each in tasks for task in each):
        found.setdefault((one.task, one.target), one)
    return tuple(found.values())


def said(check: Precheck) -> str:
    return f"{check.text} ({check.code})" if check.code else check.text

"""One pool of a run: what stands in its way is put right, its hosts are updated one
after another, the coordinator first, and at the end it is as it was before."""

import shlex
from collections.abc import Collection
from contextlib import AbstractContextManager

from lpengine.errors import LpengineError, RefusedError, StuckError
from lpengine.planner.catalogue import CATALOGUE
from lpengine.planner.plan import Verdict
from lpengine.planner.updates.decide import decide_pool
from lpengine.planner.updates.plan import Fix, HostPlan, PoolPlan, Precheck
from lpengine.pool.acting import Hands
from lpengine.pool.context import Cancelled, Context
from lpengine.pool.gather import NO_ENGINE, Observed, gather
from lpengine.pool.host_run import HostRun, ended, said
from lpengine.pool.outcome import HostOutcome, Phase, PoolEnded, PoolOutcome, Status
from lpengine.pool.record import Kind, Line


class PoolRun:
    """`resolve`: what can be done about its prechecks is done, to guests that are to
    be chosen if they are among `put_away`. `held` says why nothing is to be done."""

    def __init__(
        self,
        context: Context,
        observed: Observed,
        plan: PoolPlan,
        *,
        resolve: bool = False,
        put_away: Collection[str] = (),
        held: LpengineError | None = None,
    ) -> None:
        self._context = context
        self._observed = observed
        self._plan = plan
        self._resolve = resolve
        self._put_away = put_away
        self._held = held
        self._hosts: dict[str, HostOutcome] = {}

    def carry_out(self) -> PoolOutcome:
        """Whatever goes wrong is its outcome. Where a host has failed, what was put
        out of the way stays so: the pool is to be finished, or given up."""
        error: LpengineError | None = None
        try:
            status = self._all()
            self._undo()
        except Cancelled as stopped:
            status, error = Status.CANCELLED, self._undone(stopped)
        except LpengineError as failure:
            status, error = Status.FAILED, failure
            if isinstance(failure, RefusedError) and not self._has_acted():
                status, error = Status.REFUSED, self._undone(failure)
        if self._is_finished(status):
            ending = Line(Kind.POOL_ENDED, pool=self._plan.pool, detail=status)
            self._context.record.write(ending)
        outcome = PoolOutcome(
            self._plan.pool, status, self._outcomes(), self._outstanding(), error
        )
        self._context.notify(PoolEnded(outcome))
        return outcome

    def _all(self) -> Status:
        if self._held is not None:
            raise self._held
        if self._plan.verdict is Verdict.NOTHING and not self._has_acted():
            self._hosts = {
                one.host: HostOutcome(one.host, Status.NOTHING, one.after)
                for one in self._plan.hosts
            }
            return Status.NOTHING
        if self._plan.verdict is Verdict.REFUSED:
            self._make_ready()
        self._check_engines()
        for plan in self._plan.hosts:
            self._hosts[plan.host] = outcome = self._host(plan)
            if outcome.error is not None:
                raise outcome.error
        changed = any(one.status is Status.DONE for one in self._hosts.values())
        return Status.DONE if changed else Status.NOTHING

    def _host(self, plan: HostPlan) -> HostOutcome:
        before = self._context.record.ending(plan.pool, plan.host)
        if before is not None:
            return ended(before)
        run = HostRun(self._context, self._observed, plan)
        outcome = run.carry_out()
        self._observed = run.observed
        return outcome

    def _check_engines(self) -> None:
        """Before any host is emptied or updated: a pool is not left half way."""
        missing = [
            plan.host
            for plan in self._plan.hosts
            if plan.verdict is Verdict.READY and self._observed.lacks_engine(plan.host)
        ]
        if missing and self._context.by_engine:
            raise RefusedError(
                f"{', '.join(missing)}: there is no lpengine ({NO_ENGINE})",
                codes=[NO_ENGINE],
                hint=CATALOGUE[NO_ENGINE].remedy,
            )

    def _make_ready(self) -> None:
        """Only where all problems can be resolved is any of them, as in XenCenter.
        `RefusedError` where it is not ready after that."""
        checks = blocking(self._plan)
        resolvable = all(self._can_resolve(check) for check in checks)
        if not (self._resolve and checks and resolvable):
            raise refusal(self._plan)
        for fix in self._plan.fixes:
            try:
                with self._phase(Phase.FIX, fix):
                    self._hands().fix(fix)
            except Cancelled:
                raise
            except LpengineError as error:
                raise RefusedError(error.message, hint=error.hint) from error
        (self._observed,) = gather(
            [self._observed.config], self._context.ids, opener=self._context.opener
        )
        self._plan = decide_pool(
            self._context.updates,
            self._observed.state,
            self._context.policy(self._plan.pool),
        )
        if self._plan.verdict is Verdict.REFUSED:
            raise refusal(self._plan)

    def _can_resolve(self, check: Precheck) -> bool:
        fix = check.fix
        return fix is not None and (not fix.choose or fix.target in self._put_away)

    def _undo(self) -> None:
        """The last first."""
        for fix in reversed(self._outstanding()):
            if fix.undo is not None:
                with self._phase(Phase.UNDO, fix):
                    self._hands().fix(fix.undo)

    def _undone(self, error: LpengineError) -> LpengineError:
        """The error, or what it led to."""
        try:
            self._undo()
        except LpengineError as worse:
            return StuckError(
                f"{error.message}; and then: {worse.message}",
                left=[f"{fix.do} of {fix.target}" for fix in self._outstanding()],
                hint=worse.hint,
            )
        return error

    def _is_finished(self, status: Status) -> bool:
        """A pool that was stopped in the middle is not, and neither is one in which
        something is to be put back."""
        if self._outstanding():
            return False
        stopped = status in (Status.FAILED, Status.CANCELLED)
        return not (stopped and self._has_acted())

    def _has_acted(self) -> bool:
        return bool(self._context.record.hosts_of(self._plan.pool))

    def _outcomes(self) -> tuple[HostOutcome, ...]:
        skipped = (HostOutcome(one.host, Status.SKIPPED) for one in self._plan.hosts)
        return tuple(self._hosts.get(one.host, one) for one in skipped)

    def _outstanding(self) -> tuple[Fix, ...]:
        return self._context.record.outstanding(self._plan.pool)

    def _phase(self, phase: Phase, fix: Fix) -> AbstractContextManager[None]:
        deed = fix.do if phase is Phase.FIX or fix.undo is None else fix.undo.do
        line = Line(pool=self._plan.pool, detail=f"{deed} {fix.target}", fix=fix)
        return self._context.phase(phase, line, putting_back=phase is Phase.UNDO)

    def _hands(self) -> Hands:
        return Hands(self._observed, self._context.opener, self._context.poll)


def blocking(plan: PoolPlan) -> tuple[Precheck, ...]:
    checks = (*plan.prechecks, *(one for host in plan.hosts for one in host.prechecks))
    return tuple(check for check in checks if check.blocks)


def refusal(plan: PoolPlan) -> RefusedError:
    checks = blocking(plan)
    fixes = [check.fix for check in checks]
    hint = ""
    if fixes and None not in fixes:
        chosen = sorted({fix.target for fix in fixes if fix and fix.choose})
        words = "".join(f" --put-away {shlex.quote(guest)}" for guest in chosen)
        hint = f"--resolve{words} does what can be done about it"
    return RefusedError(
        "; ".join(f"{check.subject}: {said(check)}" for check in checks),
        codes=[check.code for check in checks],
        hint=hint,
    )

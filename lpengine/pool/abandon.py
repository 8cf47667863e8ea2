"""Gives a run over pools up: nothing is taken off a disk again, but hosts take guests,
and what was put out of the way is put back."""

from collections.abc import Sequence

from lpengine.errors import LpengineError
from lpengine.pool.acting import Hands
from lpengine.pool.commands import ENABLE
from lpengine.pool.context import Context
from lpengine.pool.gather import Observed
from lpengine.pool.outcome import (
    FleetOutcome,
    HostOutcome,
    Phase,
    PoolEnded,
    PoolOutcome,
    Status,
)
from lpengine.pool.past import past_of
from lpengine.pool.record import Kind, Line


def abandon(context: Context, observed: Sequence[Observed]) -> FleetOutcome:
    """For those of its pools that were observed; it ends with the last of them."""
    record = context.record
    outcomes = tuple(
        give_up(context, one)
        for one in observed
        if one.config.name in record.pools and record.ending(one.config.name) is None
    )
    is_open = record.is_open
    if not is_open:
        record.end()
    return FleetOutcome(record.name, outcomes, open=is_open)


def give_up(context: Context, observed: Observed) -> PoolOutcome:
    pool, record = observed.config.name, context.record
    hands = Hands(observed, context.opener, context.poll)
    hosts = tuple(
        enabled(context, hands, host.name)
        for host in observed.config.hosts
        if past_of(record.of(pool, host.name)).closed
    )
    error = next((one.error for one in hosts if one.error is not None), None)
    for fix in reversed(record.outstanding(pool)):
        undo = fix.undo
        assert undo is not None
        line = Line(pool=pool, detail=f"{undo.do} {fix.target}", fix=fix)
        try:
            with context.phase(Phase.UNDO, line, putting_back=True):
                hands.fix(undo)
        except LpengineError as failure:
            error = error or failure
    if error is None:
        record.write(Line(Kind.POOL_ENDED, pool=pool, detail=Status.CANCELLED))
    outcome = PoolOutcome(
        pool,
        Status.CANCELLED if error is None else Status.FAILED,
        hosts,
        record.outstanding(pool),
        error,
    )
    context.notify(PoolEnded(outcome))
    return outcome


def enabled(context: Context, hands: Hands, host: str) -> HostOutcome:
    line = Line(pool=hands.pool, host=host)
    try:
        with context.phase(Phase.ENABLE, line, putting_back=True):
            hands.do(ENABLE, host)
    except LpengineError as error:
        return HostOutcome(host, Status.FAILED, closed=True, error=error)
    return HostOutcome(host, Status.CANCELLED)

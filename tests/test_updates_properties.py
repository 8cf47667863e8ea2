"""What holds for every fleet: one answer whatever the order, nothing new once a plan
has been carried out, and no reboot less for knowing less."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from lpengine.package.model import Defect, Level, Task, Update, Version
from lpengine.planner.plan import Verdict
from lpengine.planner.updates import (
    Crash,
    Guest,
    Hindrance,
    HostPlan,
    HostState,
    LivepatchStatus,
    Pending,
    PoolState,
    RunningComponent,
    ServerPrecheck,
    Storage,
    decide,
    decide_host,
    decide_pool,
)
from lpengine.planner.updates.pending import (
    GuestEvent,
    HostEvent,
    after_guest_event,
    after_host_event,
    guest_after_update,
    guest_to_restart,
)
from tests.fleet_cases import (
    BASE,
    LICENSED,
    NEW,
    OLD,
    condition,
    disk_file,
    livepatch,
    package,
    runs,
    update,
    version,
)

T = TypeVar("T")
COMPONENTS = ("xen", "kernel", "process:nginx")
BUILDS = (OLD, BASE, NEW)
WORDS = (
    "reboot_host",
    "restart_toolstack",
    "evacuate_host",
    "restart_device_model",
    "restart_vm",
    "dance",
)

# Guidance for live patches that asks for a reboot is possible, and pointless.
MILD = ("restart_toolstack", "restart_device_model", "restart_vm")

words = st.lists(st.sampled_from(WORDS), max_size=2).map(tuple)
mild = st.lists(st.sampled_from(MILD), max_size=2).map(tuple)
releases = st.integers(1, 6)


@st.composite
def some_updates(draw: st.DrawFn) -> list[Update]:
    return [draw(an_update(number)) for number in range(draw(st.integers(0, 4)))]


@st.composite
def an_update(draw: st.DrawFn, number: int) -> Update:
    patches = draw(
        st.lists(
            st.builds(
                livepatch,
                to=releases,
                component=st.sampled_from(COMPONENTS),
                base=st.sampled_from(BUILDS),
            ),
            max_size=4,
        )
    )
    defects = (Defect("livepatches[0]", "bad", draw(st.sampled_from(COMPONENTS))),)
    return update(
        number,
        *patches,
        guidance={
            level: draw(mild if level is Level.LIVEPATCH else words) for level in Level
        },
        packages=(package(draw(releases)),) if draw(st.booleans()) else (),
        files=(disk_file(),) if draw(st.booleans()) else (),
        applicabilities=(condition("lt", 4),) if draw(st.booleans()) else (),
        defects=defects if draw(st.integers(0, 4)) == 0 else (),
    )


records = st.builds(
    runs,
    component=st.sampled_from(COMPONENTS),
    build_id=st.sampled_from(BUILDS),
    to=st.none() | releases,
    half_known=st.sampled_from([False, False, False, True]),
)
answers = st.sampled_from(
    [ServerPrecheck(status) for status in LivepatchStatus] + [ServerPrecheck()]
)
ids = st.frozensets(st.sampled_from([f"U{n}" for n in range(4)]), max_size=3)
pendings = st.builds(
    Pending,
    mandatory=st.sampled_from([(), (), (Task.REBOOT_HOST,), (Task.RESTART_TOOLSTACK,)]),
    recommended=st.lists(
        st.sampled_from(
            [
                Task.RESTART_TOOLSTACK,
                Task.REBOOT_ON_XEN_LIVEPATCH_FAILURE,
                Task.REBOOT_ON_LIVEPATCH_FAILURE,
            ]
        ),
        max_size=2,
        unique=True,
    ).map(tuple),
)
guests = st.sampled_from(
    [
        (),
        (Guest("a"), Guest("b", type="pv")),
        (
            Guest("a", hindrance=Hindrance.HAS_VGPU),
            Guest("b", hindrance=Hindrance.NOT_ENOUGH_MEMORY),
        ),
        None,
    ]
)
storage = st.sampled_from([(), (Storage("a", True, False), Storage("b", True, False))])
hosts = st.builds(
    HostState,
    name=st.sampled_from(["host1", "host2", "host10"]),
    running=st.lists(records, max_size=3, unique_by=lambda one: one.component).map(
        tuple
    ),
    not_running=st.just(frozenset()),
    installed=st.just({}) | st.builds(lambda n: {"xen.x86_64": version(n)}, releases),
    installed_updates=ids,
    pending=pendings,
    crashed=st.sampled_from([(), (Crash("xen"),)]),
    features=st.sampled_from([LICENSED, LICENSED, {}]),
    prechecks=st.dictionaries(st.sampled_from(["U0", "U1"]), answers, max_size=1),
    guests=guests,
    storage=storage,
)


@given(updates=some_updates(), states=st.lists(hosts, max_size=4), data=st.data())
def test_no_order_matters(
    updates: list[Update], states: list[HostState], data: st.DataObject
) -> None:
    """Neither of updates, pools and hosts nor of anything in them."""
    named = [replace(one, name=f"host{n}") for n, one in enumerate(states)]
    pools = [PoolState("p1", tuple(named[:2])), PoolState("p2", tuple(named[2:]))]
    turned = [turn(one, data) for one in data.draw(st.permutations(updates))]
    others = [
        replace(
            pool,
            hosts=tuple(turn_host(one, data) for one in turned_tuple(pool.hosts, data)),
        )
        for pool in data.draw(st.permutations(pools))
    ]
    assert decide(turned, others) == decide(updates, pools)


def turn_host(host: HostState, data: st.DataObject) -> HostState:
    installed = host.installed
    if installed is not None:
        installed = dict(data.draw(st.permutations(list(installed.items()))))
    pending = turn(host.pending, data)
    return replace(turn(host, data), installed=installed, pending=pending)


def turn(value: T, data: st.DataObject) -> T:
    """With each of its tuples in another order."""
    changes = {
        one.name: turned_tuple(found, data)
        for one in fields(value)  # type: ignore[arg-type]
        if isinstance(found := getattr(value, one.name), tuple)
    }
    return replace(value, **changes)  # type: ignore[type-var]


def turned_tuple(values: tuple[T, ...], data: st.DataObject) -> tuple[T, ...]:
    return tuple(data.draw(st.permutations(values)))


@given(updates=some_updates(), states=st.lists(hosts, max_size=3))
def test_a_host_gets_the_same_plan_alone_and_among_others(
    updates: list[Update], states: list[HostState]
) -> None:
    fleet = [PoolState(f"p{n}", (one,)) for n, one in enumerate(states)]
    together = decide(updates, fleet)
    for pool, plan in zip(fleet, together.pools, strict=True):
        assert decide_pool(updates, pool) == plan


@given(updates=some_updates(), state=hosts)
def test_no_action_is_required_exactly_where_there_is_no_task(
    updates: list[Update], state: HostState
) -> None:
    plan = decide_host(updates, state)
    assert plan.no_action_required is (plan.after == ())
    assert Task.EVACUATE_HOST not in {one.task for one in plan.after}
    keys = [(one.task, one.target) for one in plan.after]
    assert len(set(keys)) == len(keys)
    if plan.effective is not LivepatchStatus.COMPLETE and plan.uncovered:
        assert plan.after


# Idempotence.


@given(updates=some_updates(), state=hosts)
def test_once_carried_out_nothing_is_left(
    updates: list[Update], state: HostState
) -> None:
    state = consistent(state, updates)
    plan = decide_host(updates, state)
    done = with_tasks_done(applied(state, updates, plan), plan)
    again = decide_host(updates, done)
    assert again.install == ()
    assert again.apply == ()
    assert again.verdict is Verdict.NOTHING
    assert again.no_action_required


@given(updates=some_updates(), state=hosts)
def test_what_is_only_installed_leaves_the_same_tasks(
    updates: list[Update], state: HostState
) -> None:
    """In manual mode: nothing is installed again, and what remains is what was said,
    as far as hosts and guests remember it."""
    state = consistent(state, updates)
    plan = decide_host(updates, state)
    again = decide_host(updates, applied(state, updates, plan))
    assert again.install == ()
    assert again.needs_reboot is plan.needs_reboot


def consistent(state: HostState, updates: Iterable[Update]) -> HostState:
    """A host that has what it says it has, and whose guests are known."""
    had = [one for one in updates if one.id in state.installed_updates]
    installed = with_packages(state.installed or {}, had)
    return replace(state, guests=state.guests or (), installed=installed)


def with_packages(
    installed: Mapping[str, Version | None], updates: Iterable[Update]
) -> dict[str, Version | None]:
    releases = [int(one.version.release) for u in updates for one in u.packages]
    old = installed.get("xen.x86_64")
    newest = max([*releases, int(old.release) if old else 0])
    return {"xen.x86_64": version(newest)} if newest else {}


def applied(state: HostState, updates: Iterable[Update], plan: HostPlan) -> HostState:
    """The host with the plan's updates on its disk and in its memory."""
    reached = {one.component: one.to for one in plan.apply}
    new = [one for one in updates if one.id in (*plan.install, *plan.superseded)]
    return replace(
        state,
        running=tuple(at(one, reached.get(one.component)) for one in state.running),
        installed=with_packages(state.installed or {}, new),
        installed_updates=state.installed_updates.union(one.id for one in new),
        pending=plan.pending_after,
        guests=tuple(
            replace(guest, pending=remembered(guest, plan))
            for guest in state.guests or ()
        ),
    )


def remembered(guest: Guest, plan: HostPlan) -> Pending:
    levels = [
        level for level in plan.guidance if Task.RESTART_VM in plan.guidance[level]
    ]
    after = replace(guest, pending=guest_after_update(guest, plan.guidance))
    return guest_to_restart(after, levels)


def at(record: RunningComponent, to: Version | None) -> RunningComponent:
    return record if to is None else replace(record, to=to)


def with_tasks_done(state: HostState, plan: HostPlan) -> HostState:
    """The host after the tasks that the plan leaves: a boot brings what is on the
    disk, which the updates have not seen; guests are restarted or moved."""
    tasks = {one.task for one in plan.after}
    pending, running = state.pending, state.running
    if Task.RESTART_TOOLSTACK in tasks:
        pending = after_host_event(pending, HostEvent.TOOLSTACK_STARTED)
    if Task.REBOOT_HOST in tasks:
        pending = after_host_event(pending, HostEvent.BOOTED)
        running = tuple(booted(one) for one in running)
    restarted = {one.target for one in plan.after if one.task is Task.RESTART_PROCESS}
    running = tuple(
        booted(one) if one.component.removeprefix("process:") in restarted else one
        for one in running
    )
    if Task.RESTART_PROCESS in tasks:
        pending = after_host_event(pending, HostEvent.BOOTED)
    moved = bool(plan.before)
    return replace(
        state,
        pending=pending,
        running=running,
        guests=tuple(replace(one, pending=settled(one, plan, moved))
                     for one in state.guests or ()),
    )  # fmt: skip


def booted(record: RunningComponent) -> RunningComponent:
    return RunningComponent(record.component, "ff" * 20, booted=version(99))


def settled(guest: Guest, plan: HostPlan, moved: bool) -> Pending:
    own = {one.task for one in plan.after if one.target == guest.name}
    pending = guest.pending
    if moved or Task.RESTART_DEVICE_MODEL in own:
        pending = after_guest_event(pending, GuestEvent.MIGRATED)
    if Task.RESTART_VM in own:
        pending = after_guest_event(pending, GuestEvent.STARTED_ON_NEWEST)
    return pending


# Safety.


@given(updates=some_updates(), state=hosts, data=st.data())
def test_knowing_less_never_spares_a_reboot(
    updates: list[Update], state: HostState, data: st.DataObject
) -> None:
    state = replace(state, installed_updates=frozenset())
    plan = decide_host(updates, state)
    blind = decide_host(updates, forgetting(state, data))
    if plan.needs_reboot:
        assert blind.needs_reboot
    assert set(plan.install) <= {*blind.install, *blind.superseded}


def forgetting(state: HostState, data: st.DataObject) -> HostState:
    """Without some of what was read; answers of the host are knowledge, too."""
    running = []
    for one in state.running:
        kept = data.draw(st.sampled_from(["all", "no build", "half", "nothing"]))
        if kept == "all":
            running.append(one)
        elif kept == "no build":
            running.append(replace(one, build_id=""))
        elif kept == "half":
            running.append(replace(one, to=None, half_known=True))
    blind = data.draw(st.booleans())
    return replace(
        state,
        running=tuple(running),
        installed=None if blind else state.installed,
        features=data.draw(st.sampled_from([state.features, {}])),
        guests=data.draw(st.sampled_from([state.guests, None])),
        prechecks={
            one: data.draw(st.sampled_from([answer, ServerPrecheck()]))
            for one, answer in state.prechecks.items()
        },
    )


@given(updates=some_updates(), state=hosts)
def test_switch_and_licence_never_spare_anything(
    updates: list[Update], state: HostState
) -> None:
    free = replace(state, features=LICENSED)
    plan = decide_host(updates, free)
    for other, pool in (
        (replace(state, features={}), None),
        (free, PoolState("p", (free,), live_patching=False)),
    ):
        restricted = decide_host(updates, other, pool)
        assert restricted.apply == ()
        assert restricted.needs_reboot or not plan.needs_reboot
        assert restricted.status is plan.status


@given(updates=some_updates(), state=hosts)
def test_what_is_applied_was_made_for_what_runs(
    updates: list[Update], state: HostState
) -> None:
    plan = decide_host(updates, state)
    running = {one.component: one for one in state.running}
    for one in plan.apply:
        record = running[one.component]
        assert one.base_build_id == record.build_id
        assert record.to is None or int(one.to.release) > int(record.to.release)
        assert not record.half_known
    assert len({one.component for one in plan.apply}) == len(plan.apply)

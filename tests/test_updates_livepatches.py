"""Which live patch a component gets: build, end of life, strictly newer, newest."""

import pytest

from lpengine.package.model import LivePatch, Update
from lpengine.planner.updates import RunningComponent
from lpengine.planner.updates.livepatches import (
    accumulative,
    chosen,
    collect,
    displayed,
    is_supported,
    running,
    select,
)
from tests.fleet_cases import BASE, NEW, OLD, livepatch, runs, update

FIRST = update(1, livepatch(2), livepatch(2, base=OLD))
SECOND = update(2, livepatch(3), livepatch(3, base=OLD))
THIRD = update(3, livepatch(4), livepatch(4, base=NEW))
SERIES = (FIRST, SECOND, THIRD)


def ids(updates: tuple[Update, ...], record: RunningComponent) -> list[str]:
    return sorted(offer.update for offer in accumulative(updates, record))


def test_all_for_the_build_count_and_the_newest_is_applied() -> None:
    assert ids(SERIES, runs()) == ["U1", "U2", "U3"]
    assert chosen(SERIES, runs()) == livepatch(4)


def test_only_the_build_id_counts_not_the_version_of_the_base() -> None:
    other = LivePatch("xen", BASE, livepatch(1).to, livepatch(4).to)
    assert len(collect([update(1, livepatch(4)), update(2, other)], "xen", BASE)) == 2
    assert collect(SERIES, "xen", "ff" * 20) == ()


def test_build_and_component_both_have_to_match() -> None:
    kernel = update(9, livepatch(9, "kernel"))
    assert ids((*SERIES, kernel), runs()) == ["U1", "U2", "U3"]
    assert collect([kernel], "xen", BASE) == ()


def test_a_build_that_the_newest_does_not_serve_gets_nothing() -> None:
    assert is_supported(SERIES, "xen", BASE)
    assert not is_supported(SERIES, "xen", OLD)
    assert ids(SERIES, runs(build_id=OLD)) == []
    assert chosen(SERIES, runs(build_id=OLD)) is None


def test_the_end_of_life_comes_for_hosts_with_a_live_patch_on_too() -> None:
    assert ids(SERIES, runs(build_id=OLD, to=2)) == []


def test_the_end_of_life_is_a_matter_of_the_component() -> None:
    kernel = update(9, livepatch(9, "kernel", base=NEW))
    assert is_supported((*SERIES, kernel), "xen", BASE)
    assert not is_supported((*SERIES, kernel), "kernel", BASE)


def test_updates_without_live_patch_take_no_part() -> None:
    assert is_supported((*SERIES, update(9)), "xen", BASE)
    assert not is_supported([update(9)], "xen", BASE)
    assert not is_supported([], "xen", BASE)


def test_a_withdrawn_build_may_come_back() -> None:
    again = update(4, livepatch(5), livepatch(5, base=OLD))
    assert ids((*SERIES, again), runs(build_id=OLD)) == ["U1", "U2", "U4"]


@pytest.mark.parametrize(
    ("to", "left"),
    [(1, ["U1", "U2", "U3"]), (2, ["U2", "U3"]), (3, ["U3"]), (4, []), (9, [])],
)
def test_only_what_is_strictly_newer_than_what_runs_counts(
    to: int, left: list[str]
) -> None:
    assert ids(SERIES, runs(to=to)) == left


def test_a_state_that_is_half_known_gets_nothing() -> None:
    assert ids(SERIES, runs(half_known=True)) == []


def test_a_build_that_could_not_be_read_gets_nothing() -> None:
    nameless = update(9, livepatch(9, base=""))
    assert ids((nameless,), runs(build_id="")) == []


def test_versions_compare_as_versions() -> None:
    series = (update(1, livepatch(9)), update(2, livepatch(10)))
    assert chosen(series, runs()) == livepatch(10)


@pytest.mark.parametrize("turned", [SERIES, SERIES[::-1], SERIES[1:] + SERIES[:1]])
def test_the_order_of_updates_does_not_matter(turned: tuple[Update, ...]) -> None:
    assert select(turned, runs()) == select(SERIES, runs())


def test_of_two_that_reach_the_same_version_it_is_always_the_same() -> None:
    one, other = update(1, livepatch(4)), update(2, livepatch(4))
    assert select([one, other], runs()) == select([other, one], runs())
    assert ids((one, other), runs()) == ["U1", "U2"]


def test_one_update_may_serve_several_builds() -> None:
    for build_id in (BASE, NEW):
        best = chosen(SERIES, runs(build_id=build_id))
        assert best is not None
        assert best.base_build_id == build_id


def test_clients_see_what_some_host_applies() -> None:
    shown = displayed(SECOND, [livepatch(4)])
    assert shown.livepatches == (livepatch(3),)
    assert displayed(SECOND, []).livepatches == ()
    assert displayed(SECOND, [livepatch(4, "kernel")]).livepatches == ()


def test_what_xapi_knows_of_a_running_component() -> None:
    assert running("xen", BASE) == runs()
    assert running("xen", BASE, "4.17.4", "3") == runs(to=3)
    assert running("xen", BASE, "4.17.4").half_known
    assert running("xen", BASE, None, "3").half_known

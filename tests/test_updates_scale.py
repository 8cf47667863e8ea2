"""Thousands of hosts are planned in seconds, at a cost that grows as they do."""

import pytest

from bench.plan import in_a_process_of_its_own

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("unlike", "most"), [(False, 5), (True, 5)])
def test_ten_thousand_hosts_in_two_hundred_pools(unlike: bool, most: int) -> None:
    small = in_a_process_of_its_own(1000, 100, unlike)
    large = in_a_process_of_its_own(10_000, 100, unlike)
    assert (large["hosts"], large["pools"], large["updates"]) == (10_000, 200, 100)
    assert large["peak MiB"] < 1024
    # Seconds of the processor: others may be at work on this machine, too.
    assert large["CPU seconds"] < most
    assert large["CPU seconds"] < 20 * small["CPU seconds"]

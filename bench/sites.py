"""Redirecting and taking back 1, 100 and 10 000 sites: nanoseconds per site, and as a
ratio of a plain Python loop that writes as many bytes in the same run.

    python bench/sites.py [--json]
"""

import argparse
import json
import time
from collections.abc import Callable

from lpengine.core import Memory, Site, redirect, take_back

BASE = 0xFFFF82D040200000
STRIDE = 64
ROUNDS = 5


def median_ns(work: Callable[[], object], undo: Callable[[], object]) -> int:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        work()
        times.append(time.perf_counter_ns() - start)
        undo()
    return sorted(times)[ROUNDS // 2]


def measure(count: int) -> dict[str, object]:
    memory = Memory()
    buffer = bytearray(b"\x90" * STRIDE * count)
    memory.add(BASE, buffer)
    sites = [
        Site(BASE + at, BASE + at + 0x100000, STRIDE)
        for at in range(0, STRIDE * count, STRIDE)
    ]
    redirections = redirect(memory, sites)
    take_back(memory, redirections)

    def write_plainly() -> None:
        for done in redirections:
            memory.write(done.site.address, done.installed)

    apply = median_ns(
        lambda: redirect(memory, sites), lambda: take_back(memory, redirections)
    )
    redirect(memory, sites)
    revert = median_ns(
        lambda: take_back(memory, redirections), lambda: redirect(memory, sites)
    )
    plain = median_ns(write_plainly, lambda: None)
    return {
        "sites": count,
        "apply ns/site": round(apply / count),
        "take back ns/site": round(revert / count),
        "plain loop ns/site": round(plain / count),
        "apply / plain": round(apply / plain, 2),
        "take back / plain": round(revert / plain, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(count) for count in (1, 100, 10_000)]
    if options.json:
        print(json.dumps({"schema": "lpengine/bench-sites/1", "rows": rows}, indent=2))
        return
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()

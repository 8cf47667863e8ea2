"""Runs inside dom0: applies and reverts a payload many times through the target
while another process calls the patched function in a loop; prints counts as JSON.

    python xen_cycles.py PAYLOAD CYCLES
"""

import json
import multiprocessing
import sys
from datetime import timedelta
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from lpengine.errors import LpengineError
from lpengine.patch.xen.reader import load_payload
from lpengine.targets import open_target

EXTRA = Path("/sys/hypervisor/version/extra")
PATIENCE = timedelta(seconds=10)


def work(stop: Event, counted: Any) -> None:
    """Every read is a hypercall that runs xen_extra_version."""
    said: dict[str, int] = {}
    while not stop.is_set():
        text = EXTRA.read_text().strip()
        said[text] = said.get(text, 0) + 1
    counted.put(said)


def cycle(path: Path, cycles: int) -> dict[str, Any]:
    target, patch = open_target("xen"), load_payload(path)
    failures = []
    target.load(patch)
    for number in range(cycles):
        try:
            target.apply(patch.name, PATIENCE)
            applied = EXTRA.read_text()
            target.revert(patch.name, PATIENCE)
            if applied == EXTRA.read_text():
                failures.append(f"{number}: no change")
        except LpengineError as error:
            failures.append(f"{number}: {error.message}")
    target.unload(patch.name)
    return {
        "cycles": cycles,
        "failures": failures,
        "loaded": [one.name for one in target.facts().loaded],
    }


def main(path: str, cycles: str) -> None:
    before = EXTRA.read_text().strip()
    stop, counted = multiprocessing.Event(), multiprocessing.Queue()
    worker = multiprocessing.Process(target=work, args=(stop, counted))
    worker.start()
    cycle(Path(path), 1)
    opened = len(list(Path("/proc/self/fd").iterdir()))
    seen = cycle(Path(path), int(cycles))
    left = len(list(Path("/proc/self/fd").iterdir())) - opened
    stop.set()
    said = counted.get(timeout=60)
    worker.join()
    more = {"before": before, "said": said, "calls": sum(said.values())}
    print(json.dumps({**seen, **more, "descriptors": left}))


if __name__ == "__main__":
    main(*sys.argv[1:])

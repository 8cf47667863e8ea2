"""Cold start: how long command lines take, each in a Python of its own, as a ratio of
the bare interpreter's start in the same run. Modules and machine are made here.

    python bench/start.py [--runs N] [--json]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import lpengine

ROOT = Path(__file__).parent.parent
START = "import sys; from lpengine.cli import main; main(sys.argv[1:])"


def seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False)
    taken = time.perf_counter() - start
    assert done.returncode in (0, 20), done.stdout.decode() + done.stderr.decode()
    return taken


def command_lines(scratch: Path) -> dict[str, list[str]]:
    """In an order in which each can be run again and again."""
    image = scratch / "hv" / "hv"
    make = ["make", "-s", "-C", str(ROOT / "fixtures/hv"), f"OUT={image.parent}"]
    subprocess.run(make, check=True)
    module = scratch / "hello.livepatch"
    source = ROOT / "fixtures/patches/extra_version.c"
    replaced = {"xen_extra_version": "xen_extra_version"}
    module.write_bytes(lpengine.build_c(source, replaced, image).payload)
    lpengine.create_machine(scratch / "machine", image)
    target = ("--target", f"emulated:{scratch}/machine")

    def verb(*words: object) -> list[str]:
        return [sys.executable, "-c", START, *map(str, words)]

    return {
        "python": [sys.executable, "-c", "pass"],
        "python + click": [sys.executable, "-c", "import click"],
        "lpengine --help": verb("--help"),
        "lpengine inspect": verb("inspect", module),
        "lpengine status (linux)": verb("status", "--target", "linux"),
        "lpengine status": verb("status", *target),
        "lpengine plan": verb("plan", module, *target),
        "lpengine apply": verb("apply", module, *target),
        "lpengine revert": verb("revert", "hello", *target),
        "lpengine unload": verb("unload", "hello", *target),
    }


def measure(runs: int, clock: Callable[[Sequence[str]], float]) -> dict[str, float]:
    """Medians; the command lines take turns."""
    with tempfile.TemporaryDirectory() as scratch:
        lines = command_lines(Path(scratch))
        taken: dict[str, list[float]] = {name: [] for name in lines}
        for _ in range(runs):
            for name, line in lines.items():
                taken[name].append(clock(line))
    return {name: sorted(times)[len(times) // 2] for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    times = measure(options.runs, seconds)
    base = times["python"]
    rows = [
        {"what": name, "ms": round(t * 1e3, 1), "times python": round(t / base, 2)}
        for name, t in times.items()
    ]
    if options.json:
        print(json.dumps({"schema": "lpengine/bench-start/2", "rows": rows}, indent=2))
        return
    for row in rows:
        print(f"{row['what']:<24} {row['ms']:>8} ms  {row['times python']:>6} x python")


if __name__ == "__main__":
    main()

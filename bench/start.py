"""Cold start: how long `lpengine --help` and `lpengine inspect` take, as a ratio of
the bare interpreter's start in the same run.

    python bench/start.py MODULE [--runs N] [--json]
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence


def median_seconds(command: Sequence[str], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, check=False)
        times.append(time.perf_counter() - start)
        assert done.returncode in (0, 13), done.stderr.decode()
    return sorted(times)[len(times) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module", help="a patch module for `lpengine inspect`")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    start = "import sys; from lpengine.cli import main; main(sys.argv[1:])"
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "python + click": [sys.executable, "-c", "import click"],
        "lpengine --help": [sys.executable, "-c", start, "--help"],
        "lpengine inspect": [sys.executable, "-c", start, "inspect", options.module],
    }
    times = {name: median_seconds(c, options.runs) for name, c in commands.items()}
    base = times["python"]
    rows = [
        {"what": name, "ms": round(t * 1e3, 1), "times python": round(t / base, 2)}
        for name, t in times.items()
    ]
    if options.json:
        print(json.dumps({"schema": "lpengine/bench-start/1", "rows": rows}, indent=2))
        return
    for row in rows:
        print(f"{row['what']:<18} {row['ms']:>8} ms  {row['times python']:>6} x python")


if __name__ == "__main__":
    main()

"""How long a live patch of the real hypervisor takes: lpengine's target against
xen-livepatch, in one dom0, taking turns.

Usage: python bench/xen.py [ROUNDS]; boots Debian's Xen under QEMU.

A round is upload, apply, revert and unload of one small payload. "target" is the
engine's own way, with its checks before and after and what it writes down; "hypercalls"
is the same without; the stock tool is one program a step. Times are wall clock in the
guest; medians are compared.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from lpengine.core.hypercall import Action, Hypervisor, Privcmd
from lpengine.patch.xen.reader import load_payload
from lpengine.targets import open_target

ROOT = Path(__file__).parent.parent
STEPS = ("upload", "apply", "revert", "unload")
PATIENCE = timedelta(seconds=10)
EAGAIN, EBUSY = 11, 16
TRIES = 50
SOURCE = 'const char *xen_extra_version(void)\n{\n\treturn "+bench";\n}\n'

Round = Mapping[str, Callable[[], object]]


def hypercalls(path: Path) -> Round:
    xen, raw = Hypervisor(Privcmd()), path.read_bytes()

    def act(action: Action) -> None:
        for _ in range(TRIES):
            xen.act("bench", action, 1_000_000_000)
            while (result := xen.get("bench").result) == EAGAIN:
                time.sleep(0.0002)
            if not result:
                return
            assert result == EBUSY
        raise TimeoutError

    return {
        "upload": lambda: xen.upload("bench", raw),
        "apply": lambda: act(Action.APPLY),
        "revert": lambda: act(Action.REVERT),
        "unload": lambda: xen.act("bench", Action.UNLOAD),
    }


def engine(path: Path) -> Round:
    target, patch = open_target("xen"), load_payload(path, "bench")
    return {
        "upload": lambda: target.load(patch),
        "apply": lambda: target.apply("bench", PATIENCE),
        "revert": lambda: target.revert("bench", PATIENCE),
        "unload": lambda: target.unload("bench"),
    }


def stock(path: Path, program: str) -> Round:
    def run(*arguments: str) -> None:
        """Until it is not too busy: status 2 says try again."""
        for _ in range(TRIES):
            done = subprocess.run(
                [program, *arguments], capture_output=True, check=False
            )
            if done.returncode != 2:
                done.check_returncode()
                return
        raise TimeoutError

    return {
        "upload": lambda: run("upload", "bench", str(path)),
        "apply": lambda: run("apply", "bench"),
        "revert": lambda: run("revert", "bench"),
        "unload": lambda: run("unload", "bench"),
    }


def measure(path: Path, program: str, rounds: int) -> dict[str, dict[str, list[float]]]:
    contenders = {
        "target": engine(path),
        "hypercalls": hypercalls(path),
        "xen-livepatch": stock(path, program),
    }
    taken = {name: {step: [] for step in STEPS} for name in contenders}
    for _ in range(rounds):
        for name, steps in contenders.items():
            for step in STEPS:
                started = time.perf_counter()
                steps[step]()
                taken[name][step].append((time.perf_counter() - started) * 1e3)
    return taken


def report(taken: dict[str, dict[str, list[float]]]) -> None:
    print(f"{'ms, median':<16}" + "".join(f"{step:>10}" for step in (*STEPS, "all")))
    totals = {}
    for name, steps in taken.items():
        medians = [statistics.median(steps[step]) for step in STEPS]
        totals[name] = sum(medians)
        row = "".join(f"{one:>10.2f}" for one in (*medians, totals[name]))
        print(f"{name:<16}{row}")
    for name in ("target", "hypercalls"):
        ratio = totals["xen-livepatch"] / totals[name]
        print(f"{name} is {ratio:.1f} times as fast as xen-livepatch")


def outside(rounds: int) -> None:
    import lpengine
    from lpengine.hosts import lab

    stock_of = lab.fetch("xen")
    with tempfile.TemporaryDirectory() as scratch, lab.boot("xen") as guest:
        source = Path(scratch) / "bench.c"
        source.write_text(SOURCE)
        replaced = {"xen_extra_version": "xen_extra_version"}
        built = lpengine.build_c(source, replaced, stock_of.symbols)
        payload = source.with_suffix(".livepatch")
        payload.write_bytes(built.payload)
        program = next(stock_of.tree.glob("usr/lib/xen-*/bin/xen-livepatch"))
        libraries = stock_of.tree / "usr/lib/x86_64-linux-gnu"
        settings = [f"PYTHONPATH={ROOT}", f"LD_LIBRARY_PATH={libraries}"]
        inside = [sys.executable, __file__, "--inside", str(payload), str(program)]
        done = guest.run(
            ["env", *settings, *inside, str(rounds)], timeout=timedelta(minutes=10)
        )
    if done.status:
        sys.exit(done.stderr.decode())
    report(json.loads(done.stdout))


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        path, program, rounds = sys.argv[2:5]
        os.environ.setdefault("LPENGINE_STATE_DIR", tempfile.mkdtemp())
        print(json.dumps(measure(Path(path), program, int(rounds))))
    else:
        outside(int(sys.argv[1]) if len(sys.argv) > 1 else 15)


if __name__ == "__main__":
    main()

"""Live patching Debian's Xen: lpengine against xen-livepatch in one dom0, in turn.

    python bench/xen.py [ROUNDS] [--json]

"from the shell": a command line a step, as typed in dom0. Ours plans first, keeps a
journal, and looks afterwards whether Xen did as it was told; `lpengine apply` is upload
and apply at once, which the stock tool calls `load`. "cold" starts Python for each
command; else lpengine is in memory, as in every guest of the lab. "in one program" is
the target alone, and bare hypercalls, against one program a step. The stock tool is
asked again where it says that it was too busy: it waits for 30 ms only.
"""

import argparse
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

import lpengine
from lpengine.core.hypercall import Action, Hypervisor, Privcmd
from lpengine.hosts import lab
from lpengine.hosts.lab.initramfs import python_command
from lpengine.patch.xen.reader import load_payload
from lpengine.targets import open_target

ROOT = Path(__file__).parent.parent
NAME = "bench"
STOCK = "xen-livepatch"
PATIENCE = timedelta(seconds=10)
EAGAIN, EBUSY, TRY_AGAIN = 11, 16, 2
TRIES = 50
COLD = 1
SOURCE = 'const char *xen_extra_version(void)\n{\n\treturn "+bench";\n}\n'

# Step to what does it; contenders may take different steps to the same end.
Round = Mapping[str, Callable[[], object]]
Times = dict[str, dict[str, list[float]]]


def take_turns(contenders: Mapping[str, Round], rounds: int) -> Times:
    taken: Times = {
        who: {step: [] for step in steps} for who, steps in contenders.items()
    }
    for _ in range(rounds):
        for who, steps in contenders.items():
            for step, act in steps.items():
                begun = time.perf_counter()
                act()
                taken[who][step].append((time.perf_counter() - begun) * 1e3)
    return taken


# In dom0: without the start of a program, but for the stock tool's.


def hypercalls(path: Path) -> Round:
    xen, raw = Hypervisor(Privcmd()), path.read_bytes()

    def act(action: Action) -> None:
        for _ in range(TRIES):
            xen.act(NAME, action, 1_000_000_000)
            while (result := xen.get(NAME).result) == EAGAIN:
                time.sleep(0.0002)
            if not result:
                return
            assert result == EBUSY
        raise TimeoutError

    return {
        "upload": lambda: xen.upload(NAME, raw),
        "apply": lambda: act(Action.APPLY),
        "revert": lambda: act(Action.REVERT),
        "unload": lambda: xen.act(NAME, Action.UNLOAD),
    }


def target(path: Path) -> Round:
    there, patch = open_target("xen"), load_payload(path, NAME)
    return {
        "upload": lambda: there.load(patch),
        "apply": lambda: there.apply(NAME, PATIENCE),
        "revert": lambda: there.revert(NAME, PATIENCE),
        "unload": lambda: there.unload(NAME),
    }


def stock_inside(path: Path, program: str) -> Round:
    def run(*arguments: str) -> None:
        for _ in range(TRIES):
            done = subprocess.run([program, *arguments], capture_output=True)
            if done.returncode != TRY_AGAIN:
                done.check_returncode()
                return
        raise TimeoutError

    return {
        "upload": lambda: run("upload", NAME, str(path)),
        "apply": lambda: run("apply", NAME),
        "revert": lambda: run("revert", NAME),
        "unload": lambda: run("unload", NAME),
    }


def inside(path: Path, program: str, rounds: int) -> None:
    os.environ.setdefault("LPENGINE_STATE_DIR", tempfile.mkdtemp())
    contenders = {
        STOCK: stock_inside(path, program),
        "target": target(path),
        "hypercalls": hypercalls(path),
    }
    print(json.dumps(take_turns(contenders, rounds)))


# From outside: a command line a step.


def run(guest: lab.Guest, *argv: str) -> str:
    for _ in range(TRIES):
        done = guest.run(argv, timeout=timedelta(minutes=9), directory=str(ROOT))
        if done.status != TRY_AGAIN:
            break
    if done.status:
        raise SystemExit(done.stdout.decode() + done.stderr.decode())
    return done.stdout.decode()


def stock(guest: lab.Guest, path: Path, program: str) -> Round:
    return {
        "upload": lambda: run(guest, program, "upload", NAME, str(path)),
        "apply": lambda: run(guest, program, "apply", NAME),
        "revert": lambda: run(guest, program, "revert", NAME),
        "unload": lambda: run(guest, program, "unload", NAME),
    }


def stock_at_once(guest: lab.Guest, path: Path, program: str) -> Round:
    steps = dict(stock(guest, path, program))
    del steps["upload"]
    return {**steps, "apply": lambda: run(guest, program, "load", str(path))}


def ours(guest: lab.Guest, path: Path, program: str) -> Round:
    def verb(*words: str) -> Callable[[], object]:
        return lambda: run(guest, program, *words, "--target", "xen")

    return {
        "apply": verb("apply", str(path)),
        "revert": verb("revert", NAME),
        "unload": verb("unload", NAME),
    }


def measure(rounds: int) -> dict[str, Times]:
    packages = lab.fetch("xen")
    with tempfile.TemporaryDirectory() as scratch, lab.boot("xen") as guest:
        source = Path(scratch) / f"{NAME}.c"
        source.write_text(SOURCE)
        replaced = {"xen_extra_version": "xen_extra_version"}
        assert packages.symbols is not None
        built = lpengine.build_c(source, replaced, packages.symbols)
        path = source.with_suffix(".livepatch")
        path.write_bytes(built.payload)
        found = next(packages.tree.glob(f"usr/lib/xen-*/bin/{STOCK}"))
        program = f"/{found.relative_to(packages.tree)}"
        warm = ours(guest, path, "lpengine")
        take_turns({"warm": warm}, 1)
        contenders = {
            STOCK: stock(guest, path, program),
            f"{STOCK} load": stock_at_once(guest, path, program),
            "lpengine": warm,
        }
        shell = take_turns(contenders, rounds)
        cold = ours(guest, path, "/usr/local/bin/lpengine")
        shell |= take_turns({"lpengine, cold": cold}, COLD)
        words = ["-m", "bench.xen", "--inside", str(path), program, str(rounds)]
        alone = json.loads(run(guest, *python_command(), *words))
    return {"from the shell": shell, "in one program": alone}


def show(result: dict[str, Times]) -> None:
    steps = ("upload", "apply", "revert", "unload")
    for title, taken in result.items():
        heading = "".join(f"{step:>10}" for step in (*steps, "all"))
        print(f"{title + ', ms':<20}{heading}{'stock / it':>12}")
        base = sum(map(statistics.median, taken[STOCK].values()))
        for who, times in taken.items():
            row = {step: statistics.median(each) for step, each in times.items()}
            whole = sum(row.values())
            cells = "".join(
                f"{row[step]:>10.1f}" if step in row else f"{'-':>10}" for step in steps
            )
            print(f"{who:<20}{cells}{whole:>10.1f}{base / whole:>12.2f}")


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        inside(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.rounds)
    if options.json:
        print(json.dumps({"schema": "lpengine/bench-xen/1", "times": result}))
    else:
        show(result)


if __name__ == "__main__":
    main()

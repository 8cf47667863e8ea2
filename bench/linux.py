"""Live patching Debian's Linux kernel: lpengine against insmod and sysfs by hand, in
one guest, taking turns.

    python bench/linux.py [ROUNDS] [--json]

"from the shell": a command line a step, as typed in the guest, with everything that
lpengine does beside: it plans, keeps a journal, and looks whether the kernel did as
it was told. By hand is insmod, what one writes into sysfs, waiting, and rmmod.
"cold" starts Python for each command; else lpengine is in memory, as in every guest of
the lab. "in one program" is the target alone, without the start of a program.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from lpengine.elf.kernel import open_kernel
from lpengine.hosts import lab
from lpengine.hosts.lab.initramfs import python_command
from lpengine.patch.linux.build import build_c
from lpengine.patch.linux.reader import read_module
from lpengine.patch.reader import load_patch
from lpengine.targets.linux import LinuxTarget

ROOT = Path(__file__).parent.parent
LONG = timedelta(seconds=60)
STEPS = ("apply", "revert", "unload")
NAME = "bench"
PATCH = f"/sys/kernel/livepatch/{NAME}"
# What an administrator types, with the finest sleep that a shell offers everywhere.
BY_HAND = {
    "apply": "insmod {module} && "
    f'while [ "$(cat {PATCH}/transition 2>/dev/null)" = 1 ]; do sleep 0.1; done',
    "revert": f"echo 0 >{PATCH}/enabled && while [ -d {PATCH} ]; do sleep 0.1; done",
    "unload": f"until rmmod {NAME} 2>/dev/null; do sleep 0.1; done",
}
COLD = 2

Round = Mapping[str, Callable[[], object]]
Times = dict[str, dict[str, list[float]]]


def take_turns(contenders: Mapping[str, Round], rounds: int) -> Times:
    taken: Times = {who: {step: [] for step in STEPS} for who in contenders}
    for _ in range(rounds):
        for who, steps in contenders.items():
            for step in STEPS:
                begun = time.perf_counter()
                steps[step]()
                taken[who][step].append((time.perf_counter() - begun) * 1e3)
    return taken


# In the guest: without the start of a program.


def by_hand_inside(module: Path) -> Round:
    def shell(script: str) -> Callable[[], object]:
        words = ["sh", "-c", script.format(module=module)]
        return lambda: subprocess.run(words, check=True)

    return {step: shell(script) for step, script in BY_HAND.items()}


def target_inside(module: Path, directory: Path) -> Round:
    target = LinuxTarget(read_module, state_directory=directory)
    patch = load_patch(module)

    def apply() -> None:
        target.load(patch)
        target.apply(NAME, LONG)

    return {
        "apply": apply,
        "revert": lambda: target.revert(NAME, LONG),
        "unload": lambda: target.unload(NAME),
    }


def inside(module: Path, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        contenders = {
            "by hand": by_hand_inside(module),
            "target": target_inside(module, Path(directory)),
        }
        print(json.dumps(take_turns(contenders, rounds)))


# From outside: a command line a step.


def run(guest: lab.Guest, *argv: str) -> str:
    done = guest.run(argv, timeout=timedelta(minutes=9), directory=str(ROOT))
    if done.status:
        raise SystemExit(done.stdout.decode() + done.stderr.decode())
    return done.stdout.decode()


def by_hand(guest: lab.Guest, module: Path) -> Round:
    def shell(script: str) -> Callable[[], object]:
        return lambda: run(guest, "sh", "-c", script.format(module=module))

    return {step: shell(script) for step, script in BY_HAND.items()}


def lpengine(guest: lab.Guest, module: Path, program: str) -> Round:
    subjects = {"apply": str(module), "revert": NAME, "unload": NAME}

    def verb(step: str) -> Callable[[], object]:
        words = (program, step, subjects[step], "--target", "linux")
        return lambda: run(guest, *words)

    return {step: verb(step) for step in STEPS}


def measure(rounds: int) -> dict[str, Times]:
    stock = lab.fetch("linux")
    with tempfile.TemporaryDirectory() as directory:
        module = Path(directory) / f"{NAME}.ko"
        source, kernel = ROOT / "fixtures/klp/cmdline.c", open_kernel(stock.kernel)
        built = build_c(source, {"cmdline_proc_show": ""}, kernel, name=NAME)
        module.write_bytes(built.payload)
        with lab.boot("linux") as guest:
            warm = lpengine(guest, module, "lpengine")
            take_turns({"warm": warm}, 1)
            contenders = {"by hand": by_hand(guest, module), "lpengine": warm}
            shell = take_turns(contenders, rounds)
            cold = lpengine(guest, module, "/usr/local/bin/lpengine")
            shell |= take_turns({"lpengine, cold": cold}, COLD)
            words = ["-m", "bench.linux", "--inside", str(module), str(rounds)]
            alone = json.loads(run(guest, *python_command(), *words))
    return {"from the shell": shell, "in one program": alone}


def medians(times: dict[str, list[float]]) -> list[float]:
    found = [statistics.median(times[step]) for step in STEPS]
    return [*found, sum(found)]


def show(result: dict[str, Times]) -> None:
    for title, taken in result.items():
        heading = "".join(f"{step:>10}" for step in (*STEPS, "all"))
        print(f"{title + ', ms':<20}{heading}{'by hand / it':>14}")
        base = medians(taken["by hand"])[-1]
        for who, times in taken.items():
            row = medians(times)
            cells = "".join(f"{each:>10.0f}" for each in row)
            print(f"{who:<20}{cells}{base / row[-1]:>14.2f}")


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        inside(Path(sys.argv[2]), int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.rounds)
    if options.json:
        print(json.dumps({"schema": "lpengine/bench-linux/1", "times": result}))
    else:
        show(result)


if __name__ == "__main__":
    main()

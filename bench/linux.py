"""Live patching Debian's Linux kernel: lpengine against insmod and sysfs by hand, and
how long it takes from a boot to a verdict. Prints a table; needs QEMU.

    python bench/linux.py [CYCLES]
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from lpengine.elf.kernel import open_kernel
from lpengine.hosts import lab
from lpengine.patch.linux.build import build_c
from lpengine.patch.linux.reader import read_module
from lpengine.patch.reader import load_patch
from lpengine.targets.linux import LinuxTarget

ROOT = Path(__file__).parent.parent
LONG = timedelta(seconds=60)
PATCHES = Path("/sys/kernel/livepatch")
# What an administrator types, with the finest sleep that a shell offers everywhere.
WAIT = 'while [ "$(cat {0}/transition 2>/dev/null)" = 1 ]; do sleep 0.1; done'
GONE = "while [ -d {0} ]; do sleep 0.1; done"

Timed = dict[str, list[float]]


def by_hand(module: Path, name: str, times: Timed) -> None:
    place = PATCHES / name
    steps = {
        "apply": f"insmod {module} && {WAIT.format(place)}",
        "revert": f"echo 0 > {place}/enabled && {GONE.format(place)}",
        "unload": f"until rmmod {name} 2>/dev/null; do sleep 0.1; done",
    }
    for step, script in steps.items():
        timed(times, step, lambda text=script: shell(text))


def shell(script: str) -> None:
    subprocess.run(["sh", "-c", script], check=True)


def by_lpengine(module: Path, name: str, times: Timed) -> None:
    with tempfile.TemporaryDirectory() as directory:
        target = LinuxTarget(read_module, state_directory=Path(directory))
        patch = load_patch(module)

        def apply() -> None:
            target.load(patch)
            target.apply(name, LONG)

        timed(times, "apply", apply)
        timed(times, "revert", lambda: target.revert(name, LONG))
        timed(times, "unload", lambda: target.unload(name))


def timed(times: Timed, step: str, act: Callable[[], None]) -> None:
    begun = time.perf_counter()
    act()
    times.setdefault(step, []).append(time.perf_counter() - begun)


def inside(module: Path, cycles: int) -> None:
    """In the guest: both ways in turn, so that both see the same load."""
    hand: Timed = {}
    ours: Timed = {}
    for _ in range(cycles):
        by_hand(module, module.stem, hand)
        by_lpengine(module, module.stem, ours)
    print(json.dumps({"by hand": hand, "lpengine": ours}))


def outside(cycles: int) -> None:
    stock = lab.fetch("linux")
    with tempfile.TemporaryDirectory() as directory:
        module = Path(directory) / "bench.ko"
        source = ROOT / "fixtures/klp/cmdline.c"
        begun = time.perf_counter()
        kernel = open_kernel(stock.kernel)
        built = build_c(source, {"cmdline_proc_show": ""}, kernel, name="bench")
        module.write_bytes(built.payload)
        print(f"build from vmlinuz    {time.perf_counter() - begun:8.2f} s")
        begun = time.perf_counter()
        with lab.boot("linux", name="bench-linux") as guest:
            print(f"boot                  {time.perf_counter() - begun:8.2f} s")
            verb = [sys.executable, "-m", "lpengine", "apply", str(module)]
            run(guest, [*verb, "--target", "linux"])
            print(f"boot to verdict       {time.perf_counter() - begun:8.2f} s")
            for step in (["revert", "bench"], ["unload", "bench"]):
                run(guest, [*verb[:3], *step, "--target", "linux"])
            words = [sys.executable, "-m", "bench.linux", "--inside"]
            show(json.loads(run(guest, [*words, str(module), str(cycles)])))


def run(guest: lab.Guest, argv: list[str]) -> str:
    done = guest.run(argv, timeout=timedelta(minutes=9), directory=str(ROOT))
    if done.status:
        raise SystemExit(done.stdout.decode() + done.stderr.decode())
    return done.stdout.decode()


def show(result: dict[str, Timed]) -> None:
    steps = list(next(iter(result.values())))
    print(f"{'median, ms':<20}" + "".join(f"{step:>10}" for step in [*steps, "sum"]))
    for who, times in result.items():
        medians = [1000 * statistics.median(times[step]) for step in steps]
        row = "".join(f"{each:>10.0f}" for each in [*medians, sum(medians)])
        print(f"{who:<20}{row}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        outside(int(sys.argv[1]) if len(sys.argv) > 1 else 10)

"""How long opening, committing, calling and stepping an emulated machine take.

Usage: python bench/emulation.py IMAGE [FUNCTION]; FUNCTION should do little, and
is xen_major_version where none is given.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lpengine.core import Site
from lpengine.elf import open_image
from lpengine.machine import EmulatedMachine, create_machine, open_machine


def best(action: Callable[[], object], count: int, rounds: int = 5) -> float:
    """Seconds that one run takes, in the best of several rounds."""
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(count):
            action()
        taken.append((time.perf_counter() - started) / count)
    return min(taken)


def report(what: str, seconds: float) -> None:
    print(f"{what:<44} {seconds * 1e6:>12.1f} us")


def measure_store(directory: Path, image_path: Path, function: str) -> None:
    def create() -> None:
        create_machine(directory / str(time.perf_counter_ns()), image_path)

    report("create a machine", best(create, 1))
    create_machine(directory / "machine", image_path)
    report("open it", best(lambda: open_machine(directory / "machine"), 3))
    machine = open_machine(directory / "machine")
    address = machine.address_of(function)

    def write() -> None:
        machine.write(address, bytes([machine.read(address, 1)[0] ^ 1]))

    report("commit one changed page", best(write, 10))


def measure_calls(machine: EmulatedMachine, function: str) -> None:
    address = machine.address_of(function)
    report(f"call {function}", best(lambda: machine.call(address), 1000))

    def step() -> None:
        machine.start(address)
        while machine.stopped():
            machine.step(0)

    report("the same, instruction by instruction", best(step, 200))
    site = Site(address, address + 64, 5)

    def patch() -> None:
        machine.take_back(machine.redirect([site]))

    report("redirect it and take that back", best(patch, 500))

    def nothing() -> None:
        with machine.transaction():
            pass

    report("an empty transaction", best(nothing, 1000))


def main() -> None:
    image_path = Path(sys.argv[1])
    function = sys.argv[2] if len(sys.argv) > 2 else "xen_major_version"
    image = open_image(image_path)
    report(
        "make an emulated machine in memory",
        best(lambda: EmulatedMachine.from_image(image), 3),
    )
    measure_calls(EmulatedMachine.from_image(image), function)
    with tempfile.TemporaryDirectory() as directory:
        measure_store(Path(directory), image_path, function)


if __name__ == "__main__":
    main()

"""The targets that the contract tests run over."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lpengine.elf import Image
from lpengine.machine import create_machine
from lpengine.machine.layout import loaded_segments
from lpengine.targets import open_target
from lpengine.targets.machine import MachineTarget
from tests.contract.subject import Subject


def emulated(directory: Path, image_path: Path, image: Image) -> Subject:
    create_machine(directory, image_path, cpus=2)
    target = open_target(f"emulated:{directory}")
    assert isinstance(target, MachineTarget)
    machine = target.machine

    def memory() -> bytes:
        return b"".join(
            machine.read(each.virtual_address, each.memory_size)
            for each in loaded_segments(image)
        )

    def call(name: str, *arguments: int) -> int:
        (symbol,) = image.symbols.named(name)
        return machine.call(symbol.value, arguments)

    return Subject(
        target,
        image,
        memory,
        call,
        machine.read,
        lambda: open_target(f"emulated:{directory}"),
    )


# A target joins the contract by joining this table.
TARGETS: dict[str, Callable[[Path, Path, Image], Subject]] = {"emulated": emulated}


@pytest.fixture(params=sorted(TARGETS))
def subject(
    request: pytest.FixtureRequest, tmp_path: Path, hv_image: Path, hv: Image
) -> Subject:
    return TARGETS[request.param](tmp_path / "target", hv_image, hv)

"""What is loaded outlives the process, and a damaged record is an error."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lpengine.elf import Image
from lpengine.errors import InputError
from lpengine.loader import Loader
from lpengine.machine import EmulatedMachine, create_machine, open_machine
from tests.contract.subject import SHORTLY
from tests.loader_cases import make_patch


def test_every_verb_continues_in_another_process(
    hv: Image, hv_image: Path, machine_dir: Path
) -> None:
    create_machine(machine_dir, hv_image)

    def again() -> Loader:
        return Loader(open_machine(machine_dir))

    before = open_machine(machine_dir).read(hv.segments[0].virtual_address, 4096)
    patch = make_patch(hv, "a", {"xen_major_version": 5})
    again().load(patch)
    assert again().module("a") == patch
    again().apply("a", SHORTLY)
    machine = open_machine(machine_dir)
    assert machine.call_by_name("xen_major_version", []) == 5
    assert again().applied == ("a",)
    again().revert("a", SHORTLY)
    assert again().patches[0].reverted
    again().unload("a")
    machine = open_machine(machine_dir)
    assert machine.record == b""
    assert machine.read(hv.segments[0].virtual_address, 4096) == before


def _set(key: str, value: object) -> Callable[[dict[str, object]], None]:
    return lambda record: record.update({key: value})


@pytest.mark.parametrize(
    "damage",
    [
        _set("schema", 99),
        _set("loaded", []),
        _set("loaded", "a"),
        _set("applied", ["b"]),
        _set("applied", []),
        _set("applied", ["a", "a"]),
        lambda record: record["loaded"].append(record["loaded"][0]),
        lambda record: record["loaded"][0].pop("start"),
        lambda record: record["loaded"][0].update(raw="not base64!"),
        lambda record: record["loaded"][0].update(start=-1),
        lambda record: record["loaded"][0].update(state="merged"),
    ],
)
def test_a_damaged_record_is_named(
    hv: Image, damage: Callable[[dict[str, object]], None]
) -> None:
    machine = EmulatedMachine.from_image(hv)
    loader = Loader(machine)
    loader.load(make_patch(hv, "a", {"xen_major_version": 5}))
    loader.apply("a", SHORTLY)
    record = json.loads(machine.record)
    damage(record)
    machine.record = json.dumps(record).encode()
    with pytest.raises(InputError, match="record of loaded patches is damaged"):
        Loader(machine).revert("a")


@pytest.mark.parametrize("record", [b"{", b"\xff\xfe", b"[]", b"null", b"{}" + b"\0"])
def test_a_record_that_is_none(hv: Image, record: bytes) -> None:
    machine = EmulatedMachine.from_image(hv)
    machine.record = record
    with pytest.raises(InputError, match="damaged"):
        _ = Loader(machine).patches

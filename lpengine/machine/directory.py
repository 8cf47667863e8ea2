"""Emulated machines that are directories: create one, open one."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from lpengine.elf import open_image
from lpengine.machine.emulated import EmulatedMachine
from lpengine.machine.memory import GuestMemory
from lpengine.machine.store import (
    FORMAT,
    Description,
    check_vacant,
    create_store,
    open_store,
)


def create_machine(
    directory: Path,
    image_path: Path,
    *,
    cpus: int = 1,
    features: Sequence[int] = (),
) -> EmulatedMachine:
    """A machine in a directory that must not exist yet, or be empty; made at once
    or not at all. NotFoundError without an image, UsageError for the directory."""
    check_vacant(directory)
    image = open_image(image_path)
    fresh = EmulatedMachine.from_image(image, cpus=cpus, features=features)
    content = bytes(image.data)
    description = Description(
        format=FORMAT,
        created_by="lpengine",
        image_sha256=sha256(content).hexdigest(),
        build_id=image.build_id,
        cpus=cpus,
        features=tuple(sorted(set(features))),
        version=fresh.version,
    )
    create_store(directory, content, description)
    return open_machine(directory)


def open_machine(directory: Path) -> EmulatedMachine:
    """NotFoundError where there is none, InputError where a file is damaged."""
    store, image, layout, state = open_store(directory)
    memory = GuestMemory(image, layout)
    memory.adopt(state.allocations, state.protections, state.pages)
    return EmulatedMachine(
        image,
        memory,
        features=store.description.features,
        version=store.description.version,
        store=store,
        state=state,
    )

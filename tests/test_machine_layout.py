"""Images that cannot be, or can only just be, loaded into an emulated machine."""

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpengine.elf import Image, parse_image
from lpengine.errors import ElfError, InputError, LpengineError
from lpengine.machine import EmulatedMachine

HEADER, ENTRY = 64, 56  # sizes of the file header and of a program header
OFFSET, ADDRESS, FILE_SIZE, MEMORY_SIZE = 8, 16, 32, 40


def edited(image: Path, *edits: tuple[int, int, int]) -> Image:
    """The image with (segment, field, value) changed in its program headers."""
    content = bytearray(image.read_bytes())
    for segment, field, value in edits:
        struct.pack_into("<Q", content, HEADER + ENTRY * segment + field, value)
    return parse_image(bytes(content), "edited")


@pytest.mark.parametrize(
    ("edits", "what"),
    [
        ([(0, OFFSET, 1 << 40)], "segment 0 has no"),
        ([(1, FILE_SIZE, 1 << 62), (1, MEMORY_SIZE, 1 << 62)], "segment 1 has no"),
        ([(1, FILE_SIZE, 1), (1, MEMORY_SIZE, 0x300)], ""),
        ([(0, MEMORY_SIZE, 16)], "segment 0 has no"),
        ([(1, MEMORY_SIZE, 1 << 48)], "segment 1 ends at"),
        ([(1, MEMORY_SIZE, 1 << 30)], "larger than 512 MiB"),
        ([(0, MEMORY_SIZE, 600 << 20)], "larger than 512 MiB"),
    ],
)
def test_segments_that_cannot_be_loaded_are_refused(
    probe_image: Path, edits: list[tuple[int, int, int]], what: str
) -> None:
    image = edited(probe_image, *edits)
    if not what:
        EmulatedMachine.from_image(image)
        return
    with pytest.raises(InputError, match=what) as caught:
        EmulatedMachine.from_image(image)
    assert caught.value.message.startswith("edited: ")
    assert isinstance(caught.value, ElfError) or "larger" in what


@pytest.mark.parametrize(
    "address", [0, 0x10000, 0xFFFF82D060000000, (1 << 64) - 0x4000]
)
def test_segments_may_be_far_apart(probe_image: Path, address: int) -> None:
    """As the per-CPU segment of a kernel, at address 0, is."""
    image = edited(probe_image, (1, ADDRESS, address))
    machine = EmulatedMachine.from_image(image)
    assert machine.call_by_name("one") == 1
    assert machine.call_by_name("load", [address]) == 0
    assert machine.read(address + 8, 6) == b"probe\0"
    start, end, largest = machine.patch_area
    assert not start <= address < end
    assert machine.allocate(largest) == start


def test_memory_behind_the_file_is_zero(probe_image: Path) -> None:
    image = edited(probe_image, (1, FILE_SIZE, 10))
    machine = EmulatedMachine.from_image(image)
    (text,) = image.symbols.named("text")
    assert machine.read(text.value, 6) == b"pr\0\0\0\0"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.sampled_from([4, OFFSET, ADDRESS, FILE_SIZE, MEMORY_SIZE]),
            st.integers(0, 15) | st.integers(0, (1 << 64) - 1),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_program_header_is_loaded_or_refused(
    probe_image: Path, edits: list[tuple[int, int, int]]
) -> None:
    with contextlib.suppress(LpengineError):
        machine = EmulatedMachine.from_image(edited(probe_image, *edits))
        machine.call_by_name("one")

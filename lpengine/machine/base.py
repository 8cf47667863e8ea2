"""The seam between the loader and what it patches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Flag
from typing import Protocol

from lpengine.core import Redirection, Site
from lpengine.elf import Image


class Protection(Flag):
    """Page permissions; the values are Unicorn's and mmap's PROT_*."""

    READ = 1
    WRITE = 2
    EXECUTE = 4


@dataclass(frozen=True)
class MappedImage:
    """An image and where it is: address in memory = address in file + bias."""

    image: Image
    bias: int


@dataclass(frozen=True)
class StoppedCpu:
    """A CPU at rest inside a call. `stack` are the raw bytes from `stack_pointer`
    up to the stack's end; an idle CPU is not listed."""

    name: str
    instruction_pointer: int
    stack_pointer: int
    stack: bytes


class Machine(Protocol):
    """Memory and CPUs that the loader patches itself.

    Nothing is durable until the `transaction` around it ends; one that ends with
    an exception leaves memory, allocations and record as they were at its start.
    """

    @property
    def name(self) -> str: ...

    @property
    def image(self) -> MappedImage: ...

    @property
    def version(self) -> str:
        """The image's version ("4.17.7"), "" where it does not say."""
        ...

    @property
    def record(self) -> bytes:
        """The loader's own state, opaque to the machine; durable like memory."""
        ...

    @record.setter
    def record(self, value: bytes) -> None: ...

    @property
    def symbolize(self) -> Callable[[int], str] | None:
        """Names addresses outside the image, for fault reports; "" = unknown."""
        ...

    @symbolize.setter
    def symbolize(self, value: Callable[[int], str] | None) -> None: ...

    def transaction(self) -> AbstractContextManager[None]: ...

    def read(self, address: int, size: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...

    def allocate(self, size: int) -> int:
        """Zeroed pages for patch code, within a near jump's reach of the image.
        `TargetError` (ENOMEM) where there is no room."""
        ...

    def free(self, address: int) -> None: ...

    def protect(self, address: int, size: int, protection: Protection) -> None: ...

    @property
    def patch_area(self) -> tuple[int, int, int]:
        """Start and end of where `allocate` places, and its largest free run."""
        ...

    def redirect(self, sites: Sequence[Site]) -> tuple[Redirection, ...]: ...

    def take_back(self, redirections: Sequence[Redirection]) -> None: ...

    def has_cpu_feature(self, feature: int) -> bool:
        """Whether the running image's CPU feature bit is set (alternatives)."""
        ...

    def stopped(self) -> tuple[StoppedCpu, ...]:
        """The CPUs that are inside a call, all at rest while the caller looks."""
        ...

    def let_run(self) -> None:
        """Let every CPU that is inside a call run a little further."""
        ...

    def call(
        self, function: int, arguments: Sequence[int | bytes], *, budget: int = ...
    ) -> int:
        """Call a function (System V ABI) on an idle CPU; rax as an unsigned
        integer. `FaultError` where it faults or exceeds the budget."""
        ...

    def iterate_cpu_names(self) -> Iterator[str]: ...

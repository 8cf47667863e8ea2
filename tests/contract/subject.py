"""What the contract tests ask of any target, and payloads to try on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest

from lpengine.elf import Image
from lpengine.elf.constants import (
    R_X86_64_PLT32,
    SHF_ALLOC,
    SHF_WRITE,
    SHT_NOBITS,
)
from lpengine.errors import TargetError
from lpengine.patch.model import HookKind, Patch
from lpengine.patch.xen.reader import read_payload
from lpengine.patch.xen.spec import (
    FunctionSpec,
    HookSpec,
    PayloadSpec,
    RelocationSpec,
    SectionSpec,
)
from lpengine.patch.xen.writer import write_payload
from lpengine.targets import Target

SHORTLY = timedelta(milliseconds=50)


@dataclass
class Subject:
    """A target that runs the image of fixtures/hv, and ways to look at it.

    `memory` is everything of the running image that a patch may change, `call`
    calls a function of it, `reopen` finds the target again as a new process would.
    """

    target: Target
    image: Image
    memory: Callable[[], bytes]
    call: Callable[..., int]
    read: Callable[[int, int], bytes]
    reopen: Callable[[], Target]

    def load(self, *patches: Patch) -> None:
        for patch in patches:
            self.target.load(patch)

    def apply(self, *patches: Patch, nodeps: bool = False) -> None:
        for patch in patches:
            self.target.apply(patch.name, SHORTLY, nodeps=nodeps)

    def revert(self, *patches: Patch) -> None:
        for patch in patches:
            self.target.revert(patch.name, SHORTLY)

    def replace(self, patch: Patch) -> None:
        self.target.replace(patch.name, SHORTLY)

    def unload(self, *patches: Patch) -> None:
        for patch in patches:
            self.target.unload(patch.name)

    @property
    def events(self) -> list[int]:
        """What hooks have recorded."""
        count = int.from_bytes(self.read(self.address("event_count"), 8), "little")
        log = self.read(self.address("event_log"), 8 * count)
        return [
            int.from_bytes(log[at : at + 8], "little") for at in range(0, 8 * count, 8)
        ]

    def address(self, name: str) -> int:
        (symbol,) = self.image.symbols.named(name)
        return symbol.value

    def size(self, name: str) -> int:
        (symbol,) = self.image.symbols.named(name)
        return symbol.size

    def refused(
        self, action: Callable[[], None], cause: str, errno: str | None = ""
    ) -> TargetError:
        """The action is refused for that cause, and leaves no trace."""
        before = (self.target.facts(), self.memory())
        with pytest.raises(TargetError) as caught:
            action()
        assert caught.value.cause == cause
        if errno is not None:
            assert caught.value.errno == errno
        assert (self.target.facts(), self.memory()) == before
        return caught.value

    # Payloads for this image.

    def payload(
        self,
        name: str,
        *functions: FunctionSpec,
        depends: Patch | str | None = None,
        hooks: Sequence[HookSpec] = (),
        sections: Sequence[SectionSpec] = (),
        image_build_id: str = "",
        **more: object,
    ) -> Patch:
        """A patch for this image, or on top of the patch `depends`."""
        below = depends.build_id if isinstance(depends, Patch) else depends
        spec = PayloadSpec(
            depends=below or self.image.build_id,
            xen_depends=image_build_id or self.image.build_id,
            functions=functions,
            hooks=tuple(hooks),
            sections=tuple(sections),
            metadata=(("name", name),),
            **more,  # type: ignore[arg-type]  # the spec's own fields, by name
        )
        return read_payload(write_payload(spec), name)

    def returning(self, name: str, value: int, **more: object) -> FunctionSpec:
        """`name` replaced by code that returns `value`."""
        if "old_size" not in more:
            more["old_size"] = self.size(name)
        fields = {"code": returns(value), **more}
        return FunctionSpec(name, **fields)  # type: ignore[arg-type]  # as above

    def blanking(self, name: str, size: int) -> FunctionSpec:
        """The first `size` bytes of `name` made NOPs."""
        return FunctionSpec(name, old_size=self.size(name), new_size=size)


def returns(value: int) -> bytes:
    """mov $value, %eax; ret"""
    return b"\xb8" + value.to_bytes(4, "little") + b"\xc3"


def recording(kind: HookKind, event: int, answer: int = 0) -> HookSpec:
    """A hook that records an event and returns `answer`."""
    code = (
        bytes.fromhex("4883ec08 bf")
        + event.to_bytes(4, "little")
        + bytes.fromhex("e800000000 b8")
        + (answer % 2**32).to_bytes(4, "little")
        + bytes.fromhex("4883c408 c3")
    )
    call = RelocationSpec(10, R_X86_64_PLT32, "record_event", -4)
    return HookSpec(kind, code, (call,))


def data_section(size: int = 8) -> SectionSpec:
    """Writable data: what makes a patch unsafe to apply twice."""
    return SectionSpec(".data", bytes(size), SHF_ALLOC | SHF_WRITE, alignment=8)


def zero_section(name: str, size: int) -> SectionSpec:
    return SectionSpec(
        name, flags=SHF_ALLOC | SHF_WRITE, type=SHT_NOBITS, alignment=8, size=size
    )

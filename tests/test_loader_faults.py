"""Whatever fails in the middle of a verb, nothing has happened."""

from collections.abc import Callable

import pytest

from lpengine.elf import Image
from lpengine.loader import Loader
from lpengine.machine import EmulatedMachine
from lpengine.machine.layout import loaded_segments
from lpengine.patch.model import HookKind
from tests.contract.subject import SHORTLY, recording
from tests.loader_cases import make_patch

_METHODS = ("write", "allocate", "free", "protect", "redirect", "take_back", "call")
_HOOKS = (
    HookKind.LOAD,
    HookKind.UNLOAD,
    HookKind.PREAPPLY,
    HookKind.POSTAPPLY,
    HookKind.PREREVERT,
    HookKind.POSTREVERT,
)


class _Broken(Exception):
    """What no part of the engine knows."""


class _BreaksDown(EmulatedMachine):
    """The `countdown`th change of it fails, half of them after it was made."""

    countdown = -1
    afterwards = False

    def _ticking(self, change: Callable[..., object]) -> Callable[..., object]:
        def changed(*arguments: object, **more: object) -> object:
            self.countdown -= 1
            if self.countdown == 0 and not self.afterwards:
                raise _Broken
            result = change(*arguments, **more)
            if self.countdown == 0:
                raise _Broken
            return result

        return changed

    def __getattribute__(self, name: str) -> object:
        found = super().__getattribute__(name)
        return self._ticking(found) if name in _METHODS else found

    def seen(self) -> tuple[object, ...]:
        return (
            self.record,
            self.patch_area,
            *(
                self.read(each.virtual_address, each.memory_size)
                for each in loaded_segments(self.image.image)
            ),
        )


def _prepare(loader: Loader, hv: Image, verb: str) -> Callable[[], None]:
    hooks = tuple(recording(kind, 1) for kind in _HOOKS)
    hooked = make_patch(hv, "a", {"xen_major_version": 5, "memcpy": 6}, hooks=hooks)
    if verb == "load":
        return lambda: loader.load(hooked)
    if verb == "replace":
        loader.load(make_patch(hv, "b", {"exact_nine": 6, "memcpy": 6}))
        loader.apply("b", SHORTLY)
        above = make_patch(hv, "c", {"exact_nine": 7, "exact_five": 8})
        loader.load(above)
        loader.apply("c", SHORTLY, nodeps=True)
        loader.load(make_patch(hv, "d", {"exact_nine": 9, "memcpy": 1}))
        return lambda: loader.replace("d", SHORTLY)
    loader.load(hooked)
    if verb == "revert":
        loader.apply("a", SHORTLY)
        return lambda: loader.revert("a", SHORTLY)
    if verb == "apply":
        return lambda: loader.apply("a", SHORTLY)
    return lambda: loader.unload("a")


@pytest.mark.parametrize("afterwards", [False, True])
@pytest.mark.parametrize("verb", ["load", "apply", "revert", "replace", "unload"])
def test_a_failure_at_every_change(hv: Image, verb: str, afterwards: bool) -> None:
    machine = _BreaksDown.from_image(hv)
    assert isinstance(machine, _BreaksDown)
    machine.afterwards = afterwards
    loader = Loader(machine)
    act = _prepare(loader, hv, verb)
    before = machine.seen()
    for step in range(1, 100):
        machine.countdown = step
        try:
            act()
        except _Broken:
            assert machine.seen() == before
            continue
        break
    assert step > 1
    assert machine.seen() != before

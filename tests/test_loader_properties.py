"""Any sequence of verbs leaves exactly the applied redirections in memory."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from lpengine.elf import Image
from lpengine.errors import TargetError
from lpengine.loader import Loader
from lpengine.machine import EmulatedMachine
from lpengine.machine.layout import loaded_segments
from lpengine.planner.facts import PatchState
from tests.contract.subject import SHORTLY
from tests.loader_cases import make_patch

_NAMES = st.sampled_from("abc")
_FUNCTIONS = {
    "a": {"xen_major_version": 5, "exact_five": 50, "exact_nine": 60},
    "b": {"exact_nine": 61, "memcpy": 62},
    "c": {"xen_major_version": 6, "operate_multiply": 63, "endbr_poisoned": 64},
}


class AnySequence(RuleBasedStateMachine):
    """Three patches of overlapping functions; each verb succeeds or is refused
    as a small model of the stack says."""

    image: Image
    cpus = 1

    def __init__(self) -> None:
        super().__init__()
        self.machine = EmulatedMachine.from_image(self.image)
        self.loader = Loader(self.machine)
        self.patches = {
            name: make_patch(self.image, name, functions)
            for name, functions in _FUNCTIONS.items()
        }
        self.pristine = self._memory()
        self.loaded: list[str] = []
        self.applied: list[str] = []

    def _memory(self) -> bytearray:
        pieces = (
            self.machine.read(each.virtual_address, each.memory_size)
            for each in loaded_segments(self.image)
        )
        return bytearray(b"".join(pieces))

    @rule(name=_NAMES)
    def load(self, name: str) -> None:
        allowed = name not in self.loaded
        if self._allowed(allowed, lambda: self.loader.load(self.patches[name])):
            self.loaded.append(name)

    @rule(name=_NAMES, nodeps=st.booleans())
    def apply(self, name: str, nodeps: bool) -> None:
        allowed = name in self.loaded and name not in self.applied
        allowed = allowed and (nodeps or not self.applied)
        action = lambda: self.loader.apply(name, SHORTLY, nodeps=nodeps)  # noqa: E731
        if self._allowed(allowed, action):
            self.applied.append(name)

    @rule(name=_NAMES)
    def revert(self, name: str) -> None:
        allowed = self.applied[-1:] == [name]
        if self._allowed(allowed, lambda: self.loader.revert(name, SHORTLY)):
            self.applied.pop()

    @rule(name=_NAMES)
    def replace(self, name: str) -> None:
        allowed = name in self.loaded and name not in self.applied
        if self._allowed(allowed, lambda: self.loader.replace(name, SHORTLY)):
            self.applied = [name]

    @rule(name=_NAMES)
    def unload(self, name: str) -> None:
        allowed = name in self.loaded and name not in self.applied
        if self._allowed(allowed, lambda: self.loader.unload(name)):
            self.loaded.remove(name)

    @rule()
    def another_process(self) -> None:
        self.loader = Loader(self.machine)

    def _allowed(self, allowed: bool, action: object) -> bool:
        assert callable(action)
        if allowed:
            action()
            return True
        with pytest.raises(TargetError) as caught:
            action()
        assert caught.value.cause
        return False

    @invariant()
    def the_stack_is_the_models(self) -> None:
        assert [patch.name for patch in self.loader.patches] == self.loaded
        assert list(self.loader.applied) == self.applied
        for patch in self.loader.patches:
            applied = patch.state is PatchState.APPLIED
            assert applied == (patch.name in self.applied)

    @invariant()
    def memory_is_the_image_with_the_applied_redirections(self) -> None:
        expected = bytearray(self.pristine)
        start = loaded_segments(self.image)[0].virtual_address
        for patch in self.loader.stack.applied_patches:
            assert len(patch.redirections) == len(_FUNCTIONS[patch.name])
            for done in patch.redirections:
                at = done.site.address + done.offset - start
                expected[at : at + len(done.installed)] = done.installed
        assert self._memory() == expected

    @invariant()
    def functions_answer_as_the_top_patch_says(self) -> None:
        for function, shipped in (("xen_major_version", 4), ("exact_five", 1)):
            answer = shipped
            for name in self.applied:
                answer = _FUNCTIONS[name].get(function, answer)
            assert self.machine.call_by_name(function, []) == answer

    def teardown(self) -> None:
        for name in reversed(self.applied):
            self.loader.revert(name, SHORTLY)
        for name in self.loaded:
            self.loader.unload(name)
        assert self._memory() == self.pristine
        assert self.machine.record == b""
        start, end, free = self.machine.patch_area
        assert free == EmulatedMachine.from_image(self.image).patch_area[2]
        assert start < end


def test_any_sequence_of_verbs(hv: Image) -> None:
    class OnThisImage(AnySequence):
        image = hv

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        OnThisImage,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

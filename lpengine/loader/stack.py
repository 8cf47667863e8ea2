"""What is loaded and applied on a machine, as it is kept in the machine's record."""

from dataclasses import dataclass, replace
from typing import Annotated

import msgspec

from lpengine.core import Redirection
from lpengine.errors import InputError
from lpengine.machine.base import Machine
from lpengine.patch.model import HookKind
from lpengine.planner.facts import PatchState, Span

SCHEMA = 1

# An address or a number of bytes.
Natural = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class LoadedFunction:
    """One function record with its addresses resolved. `new_address` is 0 for a
    NOP record; `new_size` are then the bytes to blank."""

    name: str
    old_address: Natural
    old_size: Natural
    new_address: Natural
    new_size: Natural

    @property
    def span(self) -> Span:
        return Span(self.old_address, self.old_address + self.old_size)


@dataclass(frozen=True)
class LoadedSymbol:
    """A named symbol of a loaded patch. `new` says that later patches may refer
    to it; one that names replacement code is not new (Xen, build_symbol_table)."""

    name: str
    address: Natural
    size: Natural
    new: bool
    is_function: bool


@dataclass(frozen=True)
class LoadedHook:
    """A hook function, in the order of its section."""

    kind: HookKind
    address: Natural


@dataclass(frozen=True)
class Loaded:
    """A patch in the machine's memory: [start, start + size) are its pages,
    [start, start + text_size) its code."""

    name: str
    raw: bytes
    build_id: str
    depends: str
    start: Natural
    size: Natural
    text_size: Natural
    functions: tuple[LoadedFunction, ...] = ()
    symbols: tuple[LoadedSymbol, ...] = ()
    hooks: tuple[LoadedHook, ...] = ()
    state: PatchState = PatchState.CHECKED
    reverted: bool = False
    redirections: tuple[Redirection, ...] = ()

    @property
    def text(self) -> Span:
        return Span(self.start, self.start + self.text_size)

    def hooks_of(self, kind: HookKind) -> tuple[int, ...]:
        return tuple(hook.address for hook in self.hooks if hook.kind is kind)


@dataclass(frozen=True)
class Stack:
    """Every loaded patch in load order, and the names of the applied ones,
    bottom of the stack first."""

    loaded: tuple[Loaded, ...] = ()
    applied: tuple[str, ...] = ()
    schema: int = SCHEMA

    def find(self, name: str) -> Loaded | None:
        return next((patch for patch in self.loaded if patch.name == name), None)

    @property
    def applied_patches(self) -> tuple[Loaded, ...]:
        """The applied patches, bottom first."""
        by_name = {patch.name: patch for patch in self.loaded}
        return tuple(by_name[name] for name in self.applied)

    def with_loaded(self, patch: Loaded) -> "Stack":
        return replace(self, loaded=(*self.loaded, patch))

    def without(self, name: str) -> "Stack":
        left = tuple(patch for patch in self.loaded if patch.name != name)
        return replace(self, loaded=left)

    def with_applied(self, name: str, redirections: tuple[Redirection, ...]) -> "Stack":
        changed = replace(
            self._get(name), state=PatchState.APPLIED, redirections=redirections
        )
        return replace(self._put(changed), applied=(*self.applied, name))

    def with_reverted(self, name: str) -> "Stack":
        changed = replace(
            self._get(name),
            state=PatchState.CHECKED,
            reverted=True,
            redirections=(),
        )
        left = tuple(other for other in self.applied if other != name)
        return replace(self._put(changed), applied=left)

    def _get(self, name: str) -> Loaded:
        return next(patch for patch in self.loaded if patch.name == name)

    def _put(self, changed: Loaded) -> "Stack":
        loaded = tuple(changed if p.name == changed.name else p for p in self.loaded)
        return replace(self, loaded=loaded)


def read_pristine(machine: Machine, stack: Stack, address: int, size: int) -> bytes:
    """The machine's bytes as they would be with every applied patch taken back."""
    data = bytearray(machine.read(address, size))
    for patch in reversed(stack.applied_patches):
        for done in reversed(patch.redirections):
            start = done.site.address + done.offset - address
            for position, byte in enumerate(done.saved, start):
                if 0 <= position < size:
                    data[position] = byte
    return bytes(data)


def encode_stack(stack: Stack) -> bytes:
    """The record of a stack; an empty stack is an empty record, so that a machine
    from which everything was unloaded is as it was."""
    return msgspec.json.encode(stack) if stack.loaded else b""


def decode_stack(record: bytes, machine_name: str) -> Stack:
    """`InputError` naming the machine where its record is damaged or of another
    schema."""
    if not record:
        return Stack()
    try:
        stack = msgspec.json.decode(record, type=Stack)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(
            f"{machine_name}: the record of loaded patches is damaged: {error}"
        ) from error
    problem = _find_contradiction(stack)
    if problem:
        raise InputError(
            f"{machine_name}: the record of loaded patches is damaged: {problem}"
        )
    return stack


def _find_contradiction(stack: Stack) -> str:
    if stack.schema != SCHEMA:
        return f"schema {stack.schema}, this version reads {SCHEMA}"
    names = [patch.name for patch in stack.loaded]
    if len(set(names)) != len(names):
        return "a name occurs twice"
    applied = {p.name for p in stack.loaded if p.state is PatchState.APPLIED}
    if applied != set(stack.applied) or len(applied) != len(stack.applied):
        return "the applied patches are not the loaded ones in that state"
    return ""

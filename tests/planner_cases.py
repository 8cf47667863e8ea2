"""Patches and facts made by hand, for the planner's tests."""

from dataclasses import replace
from typing import Any

from lpengine.arch.x86 import ENDBR64
from lpengine.patch.model import (
    Expectation,
    FunctionPatch,
    Hook,
    HookKind,
    Patch,
    PatchSection,
    Violation,
)
from lpengine.planner import (
    Capabilities,
    CodeFact,
    Facts,
    Finding,
    ImageFacts,
    LoadedPatch,
    PatchState,
    Plan,
    Span,
    SymbolFact,
)

IMAGE = "aa" * 20
TEXT = Span(0x1000, 0x9000)
INIT = Span(0x8000, 0x9000)
F, G, H, SHORT, LOOP, DATA, BOOT = (
    0x2000,
    0x2100,
    0x2200,
    0x2300,
    0x2400,
    0xA000,
    0x8100,
)

# push rbp; mov rbp, rsp; xor eax, eax; mov ebx, 1; pop rbp; ret
PLAIN = bytes.fromhex("55 4889e5 31c0 bb01000000 5d c3")
GUARDED = ENDBR64 + PLAIN
# ret, and padding
TINY = bytes.fromhex("31c0c3")
# xor eax, eax; dec edi; lea eax, [rax + 1]; jnz back to the third byte; ret
LOOPING = bytes.fromhex("31c0 ffcf 8d4001 75f9 c3")

NOTHING = Expectation(False, 0, 0, bytes(31))
FUNCS = PatchSection(1, ".livepatch.funcs", 104, 8, True, False, False)
CODE = PatchSection(2, ".text.new", 64, 16, False, True, False)
OWN_DATA = PatchSection(3, ".data", 8, 8, True, False, False)


def expecting(data: bytes) -> Expectation:
    return Expectation(True, len(data), 0, data.ljust(31, b"\0"))


def function(
    name: str = "f", old_size: int = len(PLAIN), **changes: Any
) -> FunctionPatch:
    whole = FunctionPatch(
        index=0,
        name=name,
        old_address=0,
        old_symbol="",
        old_size=old_size,
        new_symbol="",
        new_section=2,
        new_offset=0,
        new_size=16,
        version=2,
        expectation=NOTHING,
    )
    return replace(whole, **changes)


def nop(size: int, name: str = "f", old_size: int = len(PLAIN)) -> FunctionPatch:
    return function(name, old_size, new_section=0, new_size=size)


def patch(name: str = "p", *functions: FunctionPatch, **changes: Any) -> Patch:
    whole = Patch(
        name=name,
        raw=name.encode(),
        sha256=f"sha-{name}",
        build_id=f"id-{name}",
        depends=IMAGE,
        image_build_id=IMAGE,
        functions=functions or (function(),),
        sections=(FUNCS, CODE),
    )
    return replace(whole, **changes)


def hooked(kind: HookKind, name: str = "p") -> Patch:
    return patch(name, hooks=(Hook(kind, "hook", 4, 0),))


def code(address: int, name: str, body: bytes, room: int = 0x40) -> CodeFact:
    whole = body + b"\xcc" * (room - len(body))
    return CodeFact(address, name, len(body), whole, whole)


def symbol(name: str, address: int, size: int = 8, **changes: Any) -> SymbolFact:
    fact = SymbolFact(name, address, size, True)
    return replace(fact, **changes)


BODIES = {
    "f": (F, PLAIN),
    "g": (G, PLAIN),
    "h": (H, GUARDED),
    "short": (SHORT, TINY),
    "loop": (LOOP, LOOPING),
    "boot": (BOOT, PLAIN),
}


def facts(*loaded: LoadedPatch, **changes: Any) -> Facts:
    symbols = {n: (symbol(n, at, len(body)),) for n, (at, body) in BODIES.items()}
    whole = Facts(
        target="test:",
        image=ImageFacts(
            build_id=IMAGE,
            version="4.17.7",
            text=TEXT,
            init=(INIT,),
            patch_area=Span(0x100000, 0x200000),
            patch_area_free=0x100000,
        ),
        capabilities=Capabilities(features=640),
        loaded=loaded,
        applied=tuple(p.name for p in loaded if p.state is PatchState.APPLIED),
        symbols={**symbols, "data": (symbol("data", DATA, is_function=False),)},
        code={at: code(at, n, body) for n, (at, body) in BODIES.items()},
    )
    return replace(whole, **changes)


def with_symbols(whole: Facts, *new: SymbolFact) -> Facts:
    names = {fact.name for fact in new}
    more = {name: tuple(f for f in new if f.name == name) for name in names}
    return replace(whole, symbols={**whole.symbols, **more})


def with_code(whole: Facts, *new: CodeFact) -> Facts:
    return replace(whole, code={**whole.code, **{fact.address: fact for fact in new}})


def able(whole: Facts, **changes: Any) -> Facts:
    """The same target with other capabilities."""
    changed = replace(whole.capabilities, **changes)
    return replace(whole, capabilities=changed)


def imaged(whole: Facts, **changes: Any) -> Facts:
    """The same target with another image."""
    return replace(whole, image=replace(whole.image, **changes))


def loaded(
    name: str = "p", state: PatchState = PatchState.CHECKED, **changes: Any
) -> LoadedPatch:
    whole = LoadedPatch(
        name=name,
        build_id=f"id-{name}",
        depends=IMAGE,
        state=state,
        sha256=f"sha-{name}",
    )
    return replace(whole, **changes)


def applied(name: str = "p", **changes: Any) -> LoadedPatch:
    return loaded(name, PatchState.APPLIED, **changes)


def violation(cause: str, errno: str) -> Violation:
    return Violation(cause, errno, "the thing", "what is", "what should be")


def blocking_causes(plan: Plan) -> list[str]:
    return [finding.cause for finding in plan.blocking]


def only(plan: Plan, cause: str) -> Finding:
    """The one finding of that cause."""
    (found,) = (finding for finding in plan.findings if finding.cause == cause)
    return found

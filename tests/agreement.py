"""Scenarios that the emulated machine and the real hypervisor must answer alike:
payloads for Debian's Xen, good ones and such that break one rule.

None of what kills a hypervisor is here: that never leaves the emulated machine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from lpengine.elf import Image
from lpengine.elf.constants import SHF_ALLOC, SHF_WRITE
from lpengine.errors import TargetError
from lpengine.loader import Loader
from lpengine.machine import EmulatedMachine
from lpengine.patch.model import Expectation, HookKind
from lpengine.patch.xen.reader import read_payload
from lpengine.patch.xen.spec import (
    AlternativeSpec,
    FunctionSpec,
    HookSpec,
    PayloadSpec,
    Place,
    RelocationSpec,
    SectionSpec,
    SymbolSpec,
)
from lpengine.patch.xen.writer import write_payload
from tests.payloads import ABS64, BROKEN, CALL_RET, PC32, PLT32, RET, Edit, good_spec

# Functions that nothing calls unless asked to; each is a lea and a jump.
EXTRA, OTHER, THIRD = "xen_extra_version", "xen_changeset", "xen_compile_time"
NODEPS = 1

S32 = 11

Step = tuple[str, str, Any]


@dataclass(frozen=True)
class Xen:
    """Makes payloads for one image."""

    image: Image

    def address(self, name: str) -> int:
        return self.image.symbols.xen_named(name)[0].value

    def size(self, name: str) -> int:
        return self.image.symbols.xen_named(name)[0].size

    def spec(self, *functions: FunctionSpec, **more: Any) -> PayloadSpec:
        known = {"depends": self.image.build_id, "xen_depends": self.image.build_id}
        return PayloadSpec(**{**known, "functions": functions, **more})

    def raw(self, *functions: FunctionSpec, **more: Any) -> bytes:
        return write_payload(self.spec(*functions, **more))

    def like(self, name: str = EXTRA, other: str = OTHER, **more: Any) -> FunctionSpec:
        """`name` replaced by a jump to `other`, a function of the same kind."""
        jump = b"\xe9" + bytes(4)
        relocation = (RelocationSpec(1, PLT32, other, -4),)
        fields = {"old_size": self.size(name), "code": jump, "relocations": relocation}
        return FunctionSpec(name, **{**fields, **more})

    def calling(self, kind: int, symbol: str, addend: int = -4) -> bytes:
        code = b"\xe8" + bytes(4) + RET + bytes(8)
        relocations = (RelocationSpec(1, kind, symbol, addend),)
        return self.raw(self.like(code=code, relocations=relocations))

    def expecting(self, data: bytes, **fields: int) -> bytes:
        chosen = {"enabled": True, "length": len(data), "reserved": 0, **fields}
        expected = Expectation(data=data.ljust(31, b"\0"), **chosen)  # type: ignore[arg-type]
        return self.raw(self.like(expectation=expected))

    def shipped(self, size: int, name: str = EXTRA) -> bytes:
        return bytes(self.image.read(self.address(name), size))

    def everything(self, **changes: Any) -> PayloadSpec:
        """tests/payloads.py's payload with something of everything, for this image."""
        call = RelocationSpec(1, PLT32, OTHER, -4)
        functions = (
            FunctionSpec(EXTRA, self.size(EXTRA), CALL_RET, (call,)),
            FunctionSpec(THIRD, self.size(THIRD), new_size=7),
        )
        build_id = self.image.build_id
        known = {"depends": build_id, "xen_depends": build_id, "functions": functions}
        return replace(good_spec(), **{**known, **changes})


def upload(name: str, raw: bytes) -> Step:
    return ("upload", name, raw)


def life(raw: bytes) -> list[Step]:
    """On, off, on again, off, out."""
    verbs = ("apply", "revert", "apply", "revert", "unload")
    return [upload("a", raw), *((verb, "a", 0) for verb in verbs)]


def tried(raw: bytes, verb: str = "") -> list[Step]:
    return [upload("a", raw), *([(verb, "a", 0)] if verb else [])]


def refused_files(xen: Xen) -> dict[str, list[Step]]:
    """Each breach of tests/payloads.py, on a payload that is sound otherwise."""
    good = write_payload(xen.everything())
    own = {
        "section-missing": write_payload(xen.everything(xen_depends=None)),
        "too-many-sections": write_payload(
            xen.everything(
                symbols=(),
                sections=tuple(SectionSpec(f".text.{n}", RET) for n in range(1020)),
            )
        ),
        "alternatives-without-text": xen.raw(
            FunctionSpec(THIRD, xen.size(THIRD), new_size=7),
            sections=(SectionSpec(".altinstructions", bytes(14)),),
        ),
    }
    files = {
        cause: own[cause] if cause in own else damage(good)
        for cause, damage in BROKEN.items()
    }
    return {f"file: {cause}": tried(raw) for cause, raw in files.items()}


def refused_loads(xen: Xen) -> dict[str, list[Step]]:
    small = FunctionSpec(EXTRA, 4, RET)
    data = SectionSpec(".data", bytes(8), SHF_ALLOC | SHF_WRITE, alignment=8)
    static = next(
        symbol
        for symbol in xen.image.symbols
        if symbol.is_local
        and symbol.is_function
        and symbol.file
        and xen.image.sections[symbol.section_index].name == ".text"
        and not xen.image.symbols.xen_named(symbol.name)
    )
    qualified = xen.calling(PLT32, static.qualified_name)
    return {
        "unknown symbol": tried(xen.calling(PLT32, "no_such_function")),
        "static by its bare name": tried(xen.calling(PLT32, static.name)),
        "static by file and name": tried(qualified),
        "too far": tried(xen.calling(PC32, OTHER, 1 << 33)),
        "type 32S": tried(xen.calling(S32, OTHER, 0)),
        "type 64": tried(xen.calling(ABS64, OTHER, 0)),
        "no such old function": tried(xen.raw(FunctionSpec("no_such", 16, RET))),
        "old function is a bare static": tried(
            xen.raw(FunctionSpec(static.name, 16, RET))
        ),
        "function too small": tried(xen.raw(small)),
        "nop too long": tried(xen.raw(FunctionSpec(EXTRA, 40, new_size=32))),
        "nop beyond": tried(xen.raw(FunctionSpec(EXTRA, 8, new_size=9))),
        "version 1": tried(xen.raw(xen.like(version=1))),
        "old size 0": tried(xen.raw(xen.like(old_size=0))),
        "another image": tried(xen.raw(xen.like(), xen_depends="ab" * 20)),
        "symbol of the image": tried(
            xen.raw(
                xen.like(),
                sections=(data,),
                symbols=(SymbolSpec("xen_compile_date", Place(".data"), 8),),
            )
        ),
        "version before size": tried(xen.raw(replace(small, version=1))),
        "symbol before version": tried(
            xen.raw(
                xen.like(
                    version=1, relocations=(RelocationSpec(1, PLT32, "no_such", -4),)
                )
            )
        ),
        "alternative outside": tried(
            xen.raw(
                xen.like(),
                alternatives=(
                    AlternativeSpec(Place(".text", 1 << 20), 5, b"\x90" * 5, 93),
                ),
            )
        ),
    }


def twos(xen: Xen) -> dict[str, list[Step]]:
    """What takes more than one payload, or more than a load."""
    first = xen.raw(xen.like(), metadata=(("n", "1"),))
    first_id = read_payload(first, "a").build_id
    above = xen.raw(xen.like(other=THIRD), depends=first_id)
    alone = xen.raw(xen.like(other=THIRD), metadata=(("n", "2"),))
    brought = SymbolSpec("lp_brought", Place(".data"), 8, local=True)
    data = SectionSpec(".data", bytes(8), SHF_ALLOC | SHF_WRITE, alignment=8)
    bringing = partial(xen.raw, sections=(data,), symbols=(brought,))
    veto = HookSpec(HookKind.PREAPPLY, bytes.fromhex("b8f0ffffffc3"))
    quiet = HookSpec(HookKind.PREAPPLY, bytes.fromhex("31c0c3"))
    two = [upload("a", first), upload("b", above), ("apply", "a", 0)]
    return {
        "plain": life(first),
        "stacked": [*two, ("apply", "b", 0), ("revert", "a", 0), ("revert", "b", 0)],
        "stacked, upside down": [*two[:2], ("apply", "b", 0), ("apply", "a", 0)],
        "without asking for the order": [*two[:2], ("apply", "b", NODEPS)],
        "replaced": [
            *two,
            ("apply", "b", 0),
            upload("c", alone),
            ("replace", "c", 0),
            ("unload", "b", 0),
            ("revert", "c", 0),
        ],
        "replaced by a dependent": [*two, ("replace", "b", 0)],
        "unloaded while applied": [*two, ("unload", "a", 0)],
        "applied twice": [*two, ("apply", "a", 0), ("revert", "b", 0)],
        "nothing of that name": [(v, "none", 0) for v in ("apply", "revert", "unload")],
        "name in use": [upload("a", first), upload("a", alone)],
        "build id in use": [upload("a", first), upload("b", first)],
        "symbol of another": [
            upload("a", bringing(xen.like())),
            upload("b", bringing(xen.like(THIRD))),
        ],
        "symbol of one below": [
            upload("a", bringing(xen.like())),
            upload("b", xen.calling(PLT32, "lp_brought")),
        ],
        "spent data": life(xen.raw(xen.like(), sections=(data,))),
        "empty data": life(
            xen.raw(
                xen.like(),
                sections=(SectionSpec(".bss", size=0, flags=SHF_ALLOC | SHF_WRITE),),
            )
        ),
        # Kills 4.17.1 and 4.17.2, and is taken by what Debian has.
        "records for reading": life(
            Edit(first).set(".livepatch.funcs", flags=SHF_ALLOC).done()
        ),
        "everything": tried(write_payload(xen.everything(functions=(xen.like(),)))),
        "several functions": life(xen.raw(xen.like(), xen.like(THIRD))),
        "hook that says no": tried(xen.raw(xen.like(), hooks=(veto,)), "apply"),
        "hook that says yes": life(xen.raw(xen.like(), hooks=(quiet,))),
        "replaced with hooks": tried(xen.raw(xen.like(), hooks=(quiet,)), "replace"),
        "only hooks": life(xen.raw(hooks=(HookSpec(HookKind.LOAD, RET),))),
        "expectation met": life(xen.expecting(xen.shipped(6))),
        "expectation off": life(xen.expecting(b"\x90", enabled=False)),
        "expectation wrong": tried(xen.expecting(b"\x90\x90"), "apply"),
        "expectation reserved": tried(
            xen.expecting(xen.shipped(6), reserved=1), "apply"
        ),
        "expectation beyond": tried(
            xen.expecting(xen.shipped(12) + b"\x90" * 9), "apply"
        ),
        "expectation wrong, replaced": tried(xen.expecting(b"\x90\x90"), "replace"),
        "alternative": life(
            xen.raw(
                xen.like(),
                alternatives=(AlternativeSpec(Place(".text"), 5, b"\x90" * 2, 93),),
            )
        ),
        "nops": life(xen.raw(FunctionSpec(THIRD, xen.size(THIRD), new_size=7))),
    }


def scenarios(image: Image) -> dict[str, list[Step]]:
    xen = Xen(image)
    return {**refused_files(xen), **refused_loads(xen), **twos(xen)}


def emulated(image: Image, steps: list[Step]) -> list[str]:
    """How each step ends in an emulated machine, as in_dom0.py says it."""
    loader = Loader(EmulatedMachine.from_image(image))
    return [answer(loader, *step) for step in steps]


def answer(loader: Loader, verb: str, name: str, more: Any) -> str:
    verbs: Mapping[str, Callable[[], None]] = {
        "upload": lambda: loader.load(read_payload(more, name)),
        "apply": lambda: loader.apply(name, nodeps=bool(more)),
        "revert": lambda: loader.revert(name),
        "replace": lambda: loader.replace(name),
        "unload": lambda: loader.unload(name),
    }
    try:
        verbs[verb]()
    except TargetError as error:
        return error.errno if error.errno or error.cause == "wrong-state" else "?"
    return ""

"""Builds Xen payloads from C and from assembly, for one image.

Everything that the real hypervisor would refuse, or take and die of, is refused
here already, with the way out. The same input gives the same bytes.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from lpengine.compile import DEFAULT_COMPILER, compile_c
from lpengine.elf import Image
from lpengine.elf.constants import SHF_WRITE
from lpengine.errors import BuildError, UsageError
from lpengine.patch.built import Built
from lpengine.patch.xen.build_assembly import assemble_material
from lpengine.patch.xen.build_checks import check_hooks, check_payload
from lpengine.patch.xen.build_image import OldFunction, TargetImage
from lpengine.patch.xen.build_object import Material, read_object
from lpengine.patch.xen.layout import LARGEST_NAME
from lpengine.patch.xen.spec import FunctionSpec, PayloadSpec, SymbolSpec
from lpengine.patch.xen.writer import write_payload

_SALT_SIZE = 8

Modinfo = Sequence[tuple[str, str]]

__all__ = ["Built", "build_asm", "build_c"]


@dataclass(frozen=True)
class _Redirect:
    old: OldFunction
    new: SymbolSpec


def build_c(
    source: Path,
    replace: Mapping[str, str],
    image: Image,
    *,
    name: str = "",
    depends: str = "",
    modinfo: Modinfo = (),
    compiler: str = DEFAULT_COMPILER,
    flags: Sequence[str] = (),
) -> Built:
    """Compile a C source into a payload for `image`.

    `replace` maps functions of the image ("f", or "dir/file.c#f" for a static) to
    those of the source that take their place, "" for one of the same name. Without
    any, the source must have hooks. `depends` is the build id of the payload below
    in the stack; by default there is none, and the image's is used.

    Raises BuildError with the codes of what cannot be live patched, InputError for
    a source that does not compile.
    """
    target = TargetImage(image)
    all_flags = (*target.compiler_flags, *flags)
    raw = compile_c(source, compiler=compiler, flags=all_flags)
    material = read_object(raw, str(source))
    redirects = tuple(
        _Redirect(target.old_function(old), _new_function(material, old, new, source))
        for old, new in sorted(replace.items())
    )
    composer = _Composer(target, name or source.stem, depends, modinfo)
    return composer.compose(material, redirects)


def build_asm(
    function: str,
    code: str,
    image: Image,
    *,
    name: str = "",
    depends: str = "",
    modinfo: Modinfo = (),
) -> Built:
    """Assemble Intel-syntax `code` into a payload that runs in place of `function`.

    The image's symbols can be called, jumped to, and used as `[rip + symbol]` and,
    by movabs, as addresses. Raises UsageError for code that cannot be assembled or
    does not end, BuildError as `build_c`.
    """
    target = TargetImage(image)
    old = target.old_function(function)
    material, notes = assemble_material(old, code, target)
    plain = old.name.rpartition("#")[2]
    composer = _Composer(target, name or plain, depends, modinfo)
    built = composer.compose(material, (_Redirect(old, material.symbols[0]),))
    return dataclasses.replace(built, notes=(*built.notes, *notes))


class _Composer:
    """Puts material and redirections together into one payload."""

    def __init__(
        self, target: TargetImage, name: str, depends: str, modinfo: Modinfo
    ) -> None:
        self._target = target
        self._name = _checked_name(name)
        self._depends = _checked_build_id(depends) or target.build_id
        self._modinfo = tuple(modinfo)
        self._notes: list[str] = []

    def compose(self, material: Material, redirects: Sequence[_Redirect]) -> Built:
        check_hooks(material, patches_functions=bool(redirects))
        _require_distinct(redirects)
        material = material.renamed(
            {name: self._target.usable_name(name) for name in material.undefined}
        )
        spec = PayloadSpec(
            depends=self._depends,
            xen_depends=self._target.build_id,
            functions=tuple(self._record(each) for each in redirects),
            metadata=(*material.metadata, *self._modinfo),
            sections=material.sections,
        )
        symbols = self._new_symbols(material, redirects)
        payload = write_payload(_with_unique_names(spec, symbols))
        self._note_data(material)
        return Built(
            payload=payload,
            name=self._name,
            build_id=check_payload(payload, self._name).build_id,
            functions=tuple(each.old.name for each in redirects),
            notes=tuple(self._notes),
        )

    def _record(self, redirect: _Redirect) -> FunctionSpec:
        old, new = redirect.old, redirect.new
        if old.borrowed:
            self._notes.append(
                f"{old.name}: too short by itself, so the jump to the new code takes "
                f"{old.borrowed} bytes of the padding behind it"
            )
        return FunctionSpec(
            name=old.name,
            old_size=old.size,
            new=new.place,
            new_size=new.size,
            expectation=self._expectation(old) or None,
        )

    def _expectation(self, old: OldFunction) -> bytes:
        """What has to be at the old function, where that is known for certain."""
        if self._depends != self._target.build_id:
            self._notes.append(
                f"{old.name}: no bytes are expected there, since the payload below "
                "may have redirected it"
            )
            return b""
        expected = self._target.expectation(old)
        if not expected:
            self._notes.append(
                f"{old.name}: no bytes are expected there, since the image changes "
                "its first ones as it boots"
            )
        return expected

    def _new_symbols(
        self, material: Material, redirects: Sequence[_Redirect]
    ) -> tuple[SymbolSpec, ...]:
        """What the payload defines besides the replacements."""
        places = {each.new.place for each in redirects}
        data = {each.name for each in material.sections if each.flags & SHF_WRITE}
        symbols = tuple(each for each in material.symbols if each.place not in places)
        for name in sorted({each.name for each in symbols if self._hides(each, data)}):
            self._notes.append(
                f"{name}: the payload brings its own, besides the image's; declare it "
                "extern to use the image's"
            )
        return symbols

    def _hides(self, symbol: SymbolSpec, data: Set[str]) -> bool:
        """Whether the new code uses an own copy where the image's may be meant. Of
        statics only variables matter: their contents start afresh."""
        if self._target.has(symbol.name):
            return True
        variable = symbol.place.section in data
        return variable and bool(self._target.statics(symbol.name))

    def _note_data(self, material: Material) -> None:
        data = [each.name for each in material.sections if each.flags & SHF_WRITE]
        if data:
            self._notes.append(
                f"brings writable data ({', '.join(data)}): after a revert it has to "
                "be unloaded and loaded before it can be applied again"
            )


def _with_unique_names(spec: PayloadSpec, symbols: Sequence[SymbolSpec]) -> PayloadSpec:
    """Named symbols must not exist twice among all loaded payloads (Xen:
    build_symbol_table), so that each name gets a hash of the contents."""
    salt = hashlib.sha256(write_payload(spec)).hexdigest()[:_SALT_SIZE]
    longest = LARGEST_NAME - len(f".lp_{salt}")
    unique = tuple(
        dataclasses.replace(each, name=f"{each.name[:longest]}.lp_{salt}")
        for each in symbols
    )
    return dataclasses.replace(spec, symbols=unique)


def _new_function(
    material: Material, old: str, wanted: str, source: Path
) -> SymbolSpec:
    name = wanted.rpartition("#")[2] or old.rpartition("#")[2]
    functions = {each.name: each for each in material.symbols if each.function}
    if name not in functions:
        defined = ", ".join(sorted(functions)) or "no function"
        raise BuildError(
            f"{source}: defines no function {name!r} to replace {old!r}",
            codes=("LP-SYM-151",),
            hint=f"it defines {defined}; choose one with --replace {old}=NEW",
        )
    return functions[name]


def _require_distinct(redirects: Sequence[_Redirect]) -> None:
    """A function twice would stay redirected after a revert (Xen reverts
    in the order in which it applied)."""
    seen: dict[int, str] = {}
    for redirect in redirects:
        old = redirect.old
        if old.address in seen:
            raise BuildError(
                f"{old.name} and {seen[old.address]} are one function: it can be "
                "redirected only once",
                codes=("LP-SHP-180",),
                hint="name it once",
            )
        seen[old.address] = old.name


def _checked_name(name: str) -> str:
    if not 1 <= len(name.encode()) <= LARGEST_NAME or not name.isprintable():
        raise UsageError(
            f"{name!a} cannot be a payload's name",
            hint=f"1 to {LARGEST_NAME} printable bytes",
        )
    return name


def _checked_build_id(text: str) -> str:
    try:
        return bytes.fromhex(text).hex()
    except ValueError:
        raise UsageError(f"{text!a} is no build id: not hex") from None

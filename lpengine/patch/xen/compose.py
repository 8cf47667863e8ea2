"""Puts material and redirections together into one payload."""

import dataclasses
import hashlib
from collections.abc import Sequence, Set
from dataclasses import dataclass

from lpengine.elf.constants import SHF_WRITE
from lpengine.errors import BuildError, UsageError
from lpengine.patch.built import Built
from lpengine.patch.xen.build_checks import check_hooks, check_payload
from lpengine.patch.xen.build_image import OldFunction, TargetImage
from lpengine.patch.xen.build_material import Material
from lpengine.patch.xen.layout import LARGEST_NAME
from lpengine.patch.xen.spec import FunctionSpec, PayloadSpec, SymbolSpec
from lpengine.patch.xen.writer import write_payload

_SALT_SIZE = 8

Modinfo = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Redirect:
    old: OldFunction
    new: SymbolSpec


class Composer:
    """Puts material and redirections together into one payload."""

    def __init__(
        self, target: TargetImage, name: str, depends: str, modinfo: Modinfo
    ) -> None:
        self._target = target
        self._name = _checked_name(name)
        self._depends = _checked_build_id(depends) or target.build_id
        self._modinfo = tuple(modinfo)
        self._notes: list[str] = []

    def compose(self, material: Material, redirects: Sequence[Redirect]) -> Built:
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
        symbols = _besides(material, redirects)
        payload = write_payload(_with_unique_names(spec, symbols))
        self._note_data(material)
        return Built(
            payload=payload,
            name=self._name,
            build_id=check_payload(payload, self._name).build_id,
            functions=tuple(each.old.name for each in redirects),
            notes=tuple(self._notes),
        )

    def _record(self, redirect: Redirect) -> FunctionSpec:
        old, new = redirect.old, redirect.new
        if old.borrowed:
            self._notes.append(
                f"{old.name}: too short by itself, so the jump to the new code takes "
                f"{old.borrowed} bytes of the padding behind it"
            )
        return FunctionSpec(
            name=old.name,
            old_address=0 if old.findable else old.address,
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

    def note_hidden(self, material: Material, redirects: Sequence[Redirect]) -> None:
        """Say which of the image's symbols hand-written code hides by its own."""
        data = {each.name for each in material.sections if each.flags & SHF_WRITE}
        symbols = _besides(material, redirects)
        for name in sorted({each.name for each in symbols if self._hides(each, data)}):
            self._notes.append(
                f"{name}: the payload brings its own, besides the image's; declare it "
                "extern to use the image's"
            )

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


def _besides(
    material: Material, redirects: Sequence[Redirect]
) -> tuple[SymbolSpec, ...]:
    """What the payload defines besides the replacements."""
    places = {each.new.place for each in redirects}
    return tuple(each for each in material.symbols if each.place not in places)


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


def _require_distinct(redirects: Sequence[Redirect]) -> None:
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

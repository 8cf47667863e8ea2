"""Patches for the loader's tests, on the image of fixtures/hv."""

from collections.abc import Mapping

from lpengine.elf import Image
from lpengine.elf.constants import SHF_ALLOC, SHF_EXECINSTR, SHT_PROGBITS
from lpengine.patch.model import Patch
from lpengine.patch.xen.reader import read_payload
from lpengine.patch.xen.spec import FunctionSpec, PayloadSpec, SectionSpec
from lpengine.patch.xen.writer import write_payload
from tests.contract.subject import returns


def make_patch(
    image: Image,
    name: str,
    results: Mapping[str, int],
    *,
    depends: str = "",
    **more: object,
) -> Patch:
    """Functions of the image replaced by ones that return a constant."""
    functions = tuple(
        FunctionSpec(function, size_of(image, function), returns(value))
        for function, value in results.items()
    )
    fields = {"functions": functions, "metadata": (("name", name),), **more}
    spec = PayloadSpec(
        depends=depends or image.build_id,
        xen_depends=image.build_id,
        **fields,  # type: ignore[arg-type]  # the spec's own fields, by name
    )
    return read_payload(write_payload(spec), name)


def size_of(image: Image, function: str) -> int:
    (symbol,) = image.symbols.named(function)
    return symbol.size


def code_section(name: str, data: bytes, **more: object) -> SectionSpec:
    flags = SHF_ALLOC | SHF_EXECINSTR
    return SectionSpec(name, data, flags, SHT_PROGBITS, 16, **more)  # type: ignore[arg-type]

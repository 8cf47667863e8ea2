"""Objects that are not two builds of one source by one compiler, as it left them."""

from lpengine.diff import codes
from lpengine.diff.changes import Refusal
from lpengine.diff.object import ObjectFile
from lpengine.diff.rules.finding import Case, Found
from lpengine.elf.comment import compilers
from lpengine.elf.constants import STT_FILE

_INTERMEDIATE = ".gnu.lto_"


def intermediate(case: Case) -> Found:
    """gcc's slim objects: what they compile to is only known when all are linked."""
    both = (case.examination.old_object, case.examination.new_object)
    object_ = next((each for each in both if _is_intermediate(each)), None)
    if object_ is not None:
        yield Refusal(
            codes.NOT_COMPARABLE,
            "intermediate-code",
            object_.path,
            f"{object_.path} holds the compiler's intermediate code (-flto), no "
            "machine code",
            "build both without -flto, or compare what was linked from them",
        )


def compiler(case: Case) -> Found:
    """Two compilers differ in more than the fix, and agree on less than they show."""
    examination = case.examination
    if not examination.differing_code:
        return
    before = compilers(examination.old_object.image)
    after = compilers(examination.new_object.image)
    if before and after and not set(before) & set(after):
        yield Refusal(
            codes.NOT_COMPARABLE,
            "other-compiler",
            examination.new_object.path,
            f"the original was compiled by {_listed(before)}, the patched build by "
            f"{_listed(after)}",
            "compile both with the compiler of what runs",
        )


def is_stripped(object_: ObjectFile) -> bool:
    """Whether a compiler's object lost its local symbols: each has its source's name
    at least. Assemblers do not sign what they make."""
    named = any(symbol.type == STT_FILE for symbol in object_.symbols)
    return not named and bool(compilers(object_.image))


def _is_intermediate(object_: ObjectFile) -> bool:
    sections = object_.image.sections
    return any(each.name.startswith(_INTERMEDIATE) for each in sections) and not any(
        each.allocated and each.size for each in sections
    )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)

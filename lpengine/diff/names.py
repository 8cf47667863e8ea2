"""What a compiler's numbering left of a symbol's name.

gcc and clang number clones, static locals and anonymous constants as they come, so
that an added line renumbers all of them. The stem of a name is what stays.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

# gcc: IPA clones and parts (cgraphclones.cc, ipa-split.cc), local aliases; clang:
# ThinLTO promotion, function specialisation, hot-cold splitting.
_CLONE = re.compile(
    r"\.(?:constprop|isra|part|lto_priv|localalias|llvm|specialized|ipa_icf|simdclone"
    r"|prefix|warm|hot|variant)(?:\.\d+)?$"
)
_COLD = re.compile(r"\.cold(?:\.\d+)?$")
_NUMBER = re.compile(r"\.\d+$")

# Linux: include/linux/compiler.h, __UNIQUE_ID; the number may be followed by what
# the user of the macro adds.
_UNIQUE_ID = re.compile(r"(__UNIQUE_ID_\D*?)_?\d+")
_NUMBERED = re.compile(
    r"^(__addressable_|__initcall_|__exitcall_|__compound_literal|CSWTCH|__reach_|"
    r"__unreach_|__quirk_)"
)
_DIGITS = re.compile(r"\d+")

# Compilers' own labels, which mean nothing but a place.
_LABEL = (".L", "..L", "L__unnamed_")

# Static locals that macros bring along. They may be brought again: the worst that a
# second copy does is to warn once more, or to count from zero again.
_BROUGHT = frozenset(
    (
        "__warned",
        "__already_done",
        "__print_once",
        "__once",
        "__key",
        "_rs",
        "descriptor",
        "_entry",
        "_entry_ptr",
        "__msg",
        "___done",
        "___once_key",
    )
)
# ... and those that are constant, and the same wherever they are.
_TEXTS = frozenset(("__func__", "__FUNCTION__", "__PRETTY_FUNCTION__", "CSWTCH"))

PREFIXES = ("__pfx_", "__cfi_")


@dataclass(frozen=True, slots=True)
class Stem:
    """A name without its numbers: `text`. `is_numbered` says that there were any;
    `parent` is the function that a cold part belongs to, "" for everything else."""

    text: str
    is_numbered: bool
    parent: str = ""

    @property
    def is_cold(self) -> bool:
        return self.parent != ""


@lru_cache(maxsize=1 << 16)
def stem(name: str) -> Stem:
    """The stem of a symbol's name."""
    cold = _COLD.search(name)
    if cold:
        parent = stem(name[: cold.start()])
        return Stem(f"{parent.text}.cold", True, parent.text)
    rest, kinds = name, []
    while True:
        clone = _CLONE.search(rest)
        number = None if clone else _NUMBER.search(rest)
        found = clone or number
        if found is None or found.start() == 0:
            break
        kinds.append(_NUMBER.sub("", found.group()) if clone else "")
        rest = rest[: found.start()]
    text = rest + "".join(reversed(kinds))
    unique = _UNIQUE_ID.sub(r"\1", text)
    if _NUMBERED.match(unique):
        unique = _DIGITS.sub("", unique)
    return Stem(unique, unique != name)


def is_label(name: str) -> bool:
    """Whether the compiler made the name for itself."""
    return name.startswith(_LABEL)


def is_brought(name: str) -> bool:
    """Whether this static local was brought by a macro that counts or warns."""
    return _last(name) in _BROUGHT


def is_text(name: str) -> bool:
    """Whether this is a constant that compilers make of code: a function's name, a
    switch turned into a table."""
    return _last(name) in _TEXTS or name.partition(".")[0] in _TEXTS


def is_function_name(name: str) -> bool:
    """Whether it is one of those that hold the name of a function or a module, which
    a line number goes with (ACPICA: _acpi_module_name)."""
    return name.startswith(("__func__", "__FUNCTION__", "__PRETTY", "_acpi_module"))


def is_static_local(name: str, functions: frozenset[str]) -> bool:
    """Whether the name is that of a static inside a function: `count.3` (gcc) or
    `function.count` (clang), where `functions` are those of the object."""
    if _NUMBER.search(name):
        return True
    function, dot, _variable = name.partition(".")
    return dot != "" and function in functions


def without_number(name: str) -> str:
    """`count` of `count.3`, `f.count` of `f.count.1`."""
    return _NUMBER.sub("", name)


def _last(name: str) -> str:
    """What the source called it: gcc puts a number behind, clang the function in
    front too."""
    return without_number(name).rpartition(".")[2]

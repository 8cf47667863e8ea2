"""Headers to which a fix only adds what nothing mentions yet.

A new prototype or inline function in a header that thousands of objects include is of
no matter to those that do not mention it; and what mentions it is in the fix, too.
"""

import re
from collections.abc import Iterator, Sequence, Set
from difflib import SequenceMatcher
from pathlib import Path

from lpengine.command import complete
from lpengine.compile.includes import FILES

_SECONDS = 600
# Comments and directives that give lines their numbers back mean nothing; strings may
# look like either.
_NOTHING = re.compile(
    rb"""(["'])(?:\\.|(?!\1)[^\\\n])*\1|/\*.*?\*/|//[^\n]*|^\#line[^\n]*""",
    re.DOTALL | re.MULTILINE,
)
_CONTINUED = re.compile(rb"\\\r?\n")
_DIRECTIVE = re.compile(rb"\s*#\s*(\w+)")
_DEFINED = re.compile(rb"\s*#\s*define\s+(\w+)")
_OPENS, _BETWEEN = (b"if", b"ifdef", b"ifndef"), (b"else", b"elif")
_STRUCTURE = re.compile(rb'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|[{}();]')
# What macros stand for is attributes where a word in front of a declaration has
# arguments: __printf(1, 2).
_ATTRIBUTE = re.compile(rb"\b__\w+\s*\((?:[^()]|\([^()]*\))*\)")
_INLINE = re.compile(rb"static\s.*?\b(?:__always_inline|inline)\b")
_FUNCTION = re.compile(rb"(?:[\w*]+\s+)+\**\s*(\w+)\s*\((?!\s*\*)[^{}=]*\)[\w\s]*[;{]")
_VARIABLE = re.compile(rb"extern\s[\w\s*]*?\b(\w+)\s*(?:\[[^\]]*\])*\s*;")
_FORWARD = re.compile(rb"(?:(?:struct|union)\s+\w+)?\s*;")
# Puts a function somewhere though nothing mentions it, or makes more than one name.
_MORE = re.compile(
    rb"\b(?:typedef|asm|_*(?:used|section|init|constructor|destructor|alias|weak)_*)\b"
)


def quiet_headers(base: Path, work: Path, files: Sequence[str]) -> Set[str]:
    """Those headers of a fix that matter to none but the fix's own sources."""
    found: dict[str, Set[bytes]] = {}
    for file in files:
        if file.endswith(".h") and (base / file).is_file() and (work / file).is_file():
            names = added_names((base / file).read_bytes(), (work / file).read_bytes())
            if names is not None:
                found[file] = names
    sources = {each for each in files if each.endswith((".c", ".S"))}
    return {
        file for file, names in found.items() if _mentioning(base, names) <= sources
    }


def added_names(before: bytes, after: bytes) -> Set[bytes] | None:
    """The names that one text of a header declares and the other does not, if there
    is no other difference; else None."""
    old, new = list(_units(before)), list(_units(after))
    names: set[bytes] = set()
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for tag, _, _, begin, end in matcher.get_opcodes():
        if tag == "equal":
            continue
        added = _declared(new[begin:end]) if tag == "insert" else None
        if added is None:
            return None
        names |= added
    return names


def _units(text: bytes) -> Iterator[bytes]:
    """Declarations and, outside of them, directives: each with blanks made one."""
    text = _NOTHING.sub(_without, _CONTINUED.sub(b" ", text))
    unit, depth = b"", 0
    for line in text.split(b"\n"):
        if not depth and not unit.strip() and _DIRECTIVE.match(line):
            yield b" ".join(line.split())
            continue
        start = 0
        for found in _STRUCTURE.finditer(line):
            what = found[0]
            depth += (what in (b"{", b"(")) - (what in (b"}", b")"))
            if depth == 0 and what in (b";", b"}"):
                yield b" ".join((unit + line[start : found.end()]).split())
                unit, start = b"", found.end()
        unit += line[start:] + b"\n"
    if unit.strip():
        yield b" ".join(unit.split())


def _without(found: re.Match[bytes]) -> bytes:
    return found[0] if found[1] else b" "


def _declared(units: Sequence[bytes]) -> set[bytes] | None:
    """What added units declare; None where one does anything else, or a condition
    begins or ends among others."""
    names: set[bytes] = set()
    depth = 0
    for unit in units:
        directive = _DIRECTIVE.match(unit)
        if directive is None or directive[1] == b"define":
            name = _name(unit)
            if name is None:
                return None
            names |= {name} - {b""}
            continue
        depth += (directive[1] in _OPENS) - (directive[1] == b"endif")
        known = directive[1] in (*_OPENS, *_BETWEEN, b"endif")
        if not known or depth < (directive[1] != b"endif"):
            return None
    return names if depth == 0 else None


def _name(unit: bytes) -> bytes | None:
    """The one name that a unit declares, b"" for none; None where it does more."""
    defined = _DEFINED.match(unit)
    if defined:
        return defined[1]
    plain = _ATTRIBUTE.sub(b"", unit).strip()
    if _FORWARD.fullmatch(plain):
        return b""
    if _MORE.search(unit):
        return None
    function = _FUNCTION.match(plain)
    if function and (_INLINE.match(plain) if b"{" in plain else plain[-1:] == b";"):
        return function[1]
    variable = _VARIABLE.fullmatch(plain)
    return variable[1] if variable else None


def _mentioning(base: Path, names: Set[bytes]) -> Set[str]:
    """The files of a tree in which one of the names is."""
    if not names:
        return frozenset()
    words = [word for each in sorted(names) for word in ("-e", each.decode())]
    argv = ["grep", "-rlwF", *(f"--include={each}" for each in FILES), *words, "."]
    said = complete(argv, cwd=base, timeout=_SECONDS)
    return {line.removeprefix("./") for line in said.stdout.decode().splitlines()}

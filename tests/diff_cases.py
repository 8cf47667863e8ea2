"""The pairs of sources in fixtures/diff, compiled, and what their cases promise."""

import subprocess
import tempfile
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lpengine.diff.changes import Inside, ObjectChanges, Original, System
from lpengine.diff.differ import Options, diff_images
from lpengine.diff.names import stem
from lpengine.elf import Image, parse_image

FIXTURES = Path(__file__).parent.parent / "fixtures" / "diff"
COMPILERS = ("gcc", "clang")
FLAGS = (
    *("-O2", "-ffunction-sections", "-fdata-sections", "-ffreestanding"),
    *(
        "-fno-asynchronous-unwind-tables",
        "-fno-stack-protector",
        "-fcf-protection=none",
    ),
    *("-fno-pic", "-fno-pie", "-mcmodel=kernel", "-mno-red-zone", "-fno-common"),
)


@dataclass(frozen=True)
class Case:
    """One pair. `promised` is its case.toml."""

    name: str
    promised: dict[str, Any] = field(hash=False)

    def source(self, side: str) -> str:
        return (FIXTURES / self.name / f"{side}.c").read_text()

    def compilers(self) -> tuple[str, ...]:
        return tuple(self.promised.get("compilers", COMPILERS))

    def options(self) -> Options:
        system = self.promised.get("system")
        return Options(
            system=System(system) if system else None,
            is_module=self.promised.get("module"),
            hooks=self.promised.get("hooks", {}),
            overridden=frozenset(self.promised.get("overridden", ())),
        )


@cache
def cases() -> tuple[Case, ...]:
    return tuple(
        Case(path.parent.name, tomllib.loads(path.read_text()))
        for path in sorted(FIXTURES.glob("*/case.toml"))
    )


def case_named(name: str) -> Case:
    return next(each for each in cases() if each.name == name)


def compile_side(
    case: Case, side: str, compiler: str, more: tuple[str, ...] = ()
) -> bytes:
    """before.c or after.c, as its case wants it."""
    return compile_text(case, case.source(side), compiler, more)


def compile_text(
    case: Case, text: str, compiler: str, more: tuple[str, ...] = ()
) -> bytes:
    """A source with a case's flags. It is called the same in both builds, as in a
    tree."""
    flags = (*FLAGS, *case.promised.get("flags", ()), *more)
    source = f'#line 1 "source.c"\n{text}'
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch, "object.o")
        done = subprocess.run(
            [compiler, *flags, "-x", "c", "-c", "-o", output, "-"],
            input=source.encode(),
            capture_output=True,
            cwd=FIXTURES / case.name,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        return output.read_bytes()


@cache
def built(case: Case, compiler: str, more: tuple[str, ...] = ()) -> tuple[Image, Image]:
    before = compile_side(case, "before", compiler, more)
    after = compile_side(case, "after", compiler, more)
    return parse_image(before, f"{case.name}/before.o"), parse_image(
        after, f"{case.name}/after.o"
    )


@cache
def differed(case: Case, compiler: str, more: tuple[str, ...] = ()) -> ObjectChanges:
    before, after = built(case, compiler, more)
    return diff_images(case.name, before, after, case.options())


def stems(names: Any) -> list[str]:
    """Names without what compilers add: a static local of clang's is called behind
    its function."""
    return sorted(stem(name).text.rpartition(".")[2] for name in names)


def bound(changes: ObjectChanges, function: str) -> list[str]:
    """The originals that a function's piece refers to."""
    piece = piece_of(changes, function)
    targets = (use.target for use in piece.uses)
    return stems({t.name for t in targets if isinstance(t, Original)})


def called(changes: ObjectChanges, function: str) -> list[str]:
    """The pieces that a function's piece refers to, by their names."""
    piece = piece_of(changes, function)
    targets = (use.target for use in piece.uses)
    return stems(
        {changes.pieces[t.piece].name for t in targets if isinstance(t, Inside)}
    )


def piece_of(changes: ObjectChanges, function: str) -> Any:
    found = changes.function(function)
    assert found
    assert found.piece is not None
    return changes.pieces[found.piece]

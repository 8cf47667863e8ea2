"""Which compiler, assembler and linker there are."""

import hashlib
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lpengine.command import run
from lpengine.elf import open_image
from lpengine.elf.comment import compilers
from lpengine.errors import InputError


@dataclass(frozen=True)
class Toolchain:
    """A compiler by its name, and what it says of itself."""

    compiler: str

    @cached_property
    def description(self) -> str:
        """The first line of its --version. NotFoundError where it is missing."""
        return _first_line([self.compiler, "--version"])

    @cached_property
    def identity(self) -> str:
        """A hash of everything whose change may change an object."""
        tools = ([self.compiler, "-v", "-E", "-x", "c", "/dev/null"], ["as"], ["ld"])
        said = [self.description, _first_line([self.compiler, "-dumpmachine"])]
        said += [run(tools[0]).stderr.decode(errors="replace").partition("\n#")[0]]
        said += [_first_line([*each, "--version"]) for each in tools[1:]]
        return hashlib.sha256("\0".join(said).encode()).hexdigest()

    @cached_property
    def signature(self) -> str:
        """What it leaves in the .comment section of its objects."""
        with tempfile.TemporaryDirectory(prefix="lpengine-") as scratch:
            output = Path(scratch) / "empty.o"
            run([self.compiler, "-c", "-x", "c", "/dev/null", "-o", str(output)])
            found = compilers(open_image(output))
        if not found:
            raise InputError(f"{self.compiler}: its objects do not say who made them")
        return found[0]

    @property
    def is_clang(self) -> bool:
        return "clang" in self.description


def _first_line(argv: list[str]) -> str:
    said = run(argv).stdout.decode(errors="replace").splitlines()
    return said[0].strip() if said else ""

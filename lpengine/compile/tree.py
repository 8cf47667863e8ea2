"""A source tree that can be built: what differs between kinds of tree."""

import filecmp
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lpengine.compile.applying import Applied
from lpengine.compile.events import Notify
from lpengine.compile.toolchain import Toolchain


@dataclass(frozen=True)
class ObjectPair:
    """One object from the original and from the fixed source. `name` is its path in
    the tree; `original` is None for an object that the fix adds, `patched` for one
    that it removes. `module` is the Linux module that it becomes part of, if any."""

    name: str
    original: Path | None
    patched: Path | None
    module: str = ""

    @property
    def differs(self) -> bool:
        """Whether there is anything to compare: not for what was never built again,
        or came out the same."""
        if self.original is None or self.patched is None:
            return True
        before, after = self.original.stat(), self.patched.stat()
        if before.st_mtime_ns == after.st_mtime_ns:
            return False
        return not filecmp.cmp(self.original, self.patched, shallow=False)


@dataclass(frozen=True)
class Settings:
    """How a tree is to be built: its configuration as text ("" for the tree's own
    choice), where that came from, the compiler, variables for make."""

    toolchain: Toolchain
    configuration: bytes = b""
    origin: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    jobs: int = 1


class Tree(Protocol):
    """A kind of source tree, at `root`. Nothing here writes into `root`: building is
    done in copies, all of which have one path, since a build may note it down."""

    @property
    def root(self) -> Path: ...

    @property
    def format(self) -> str:
        """Which module its fixes become: "xen" or "linux"."""

    @property
    def programs(self) -> Sequence[str]:
        """What has to be installed besides the compiler."""

    @property
    def inner(self) -> Sequence[str]:
        """Directories below the root in which patches are made too."""

    def sources(self) -> Sequence[str]:
        """The files that a build reads, relative to the root, sorted; no products
        of an earlier build."""

    def concerns(self, path: str) -> bool:
        """Whether a file (one that a fix adds, too) is part of the build."""

    def keeps_numbers(self, path: str) -> bool:
        """Whether a fixed file is built with its original line numbers."""

    def configuration(self) -> tuple[bytes, str]:
        """The tree's own configuration and where it is from, for a base that is
        given none; empty where there is none either."""

    def build(self, copy: Path, settings: Settings, notify: Notify) -> None:
        """Configure and build a fresh copy of the sources, as the base."""

    def copy(self, base: Path, work: Path) -> None:
        """Make `work`, in which a fix will be built, out of a built base."""

    def rebuild(
        self,
        base: Path,
        work: Path,
        applied: Applied,
        settings: Settings,
        notify: Notify,
    ) -> Sequence[ObjectPair]:
        """Build what a fix that was applied to `work` touches; the pairs, by name."""

    def objects(self, base: Path) -> Mapping[str, Path]:
        """All objects of a base that may be part of the image, by name, in order;
        none where a base has none until a fix asks for them."""

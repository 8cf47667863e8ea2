"""What a build tells its caller while it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BaseBegun:
    """The tree is built as it is: the first time for this content, configuration
    and compiler. It takes minutes."""

    tree: Path
    compiler: str


@dataclass(frozen=True)
class ObjectBuilt:
    """The `count`-th file that make reports since the build began."""

    name: str
    count: int


@dataclass(frozen=True)
class BaseReady:
    """`seconds` it took to build; 0 where it was cached."""

    seconds: float
    cached: bool


@dataclass(frozen=True)
class FixBegun:
    """The fix is applied; what it touches is built."""

    files: tuple[str, ...]


@dataclass(frozen=True)
class FixBuilt:
    """How many objects came out of it."""

    objects: int
    seconds: float


@dataclass(frozen=True)
class Proving:
    """The objects are held against the running image."""

    objects: int


@dataclass(frozen=True)
class Comparing:
    """The fixed objects are compared with the original ones."""

    objects: int


Event = BaseBegun | ObjectBuilt | BaseReady | FixBegun | FixBuilt | Proving | Comparing
Notify = Callable[[Event], None]


def unheard(event: Event) -> None:
    """For a caller who does not want to know."""

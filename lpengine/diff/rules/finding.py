"""What the rules are given, and what they answer."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from lpengine.diff.changes import Note, Refusal, System
from lpengine.diff.closure import Closure
from lpengine.diff.examine import Examination
from lpengine.diff.match import referrers
from lpengine.diff.redirects import Redirects
from lpengine.diff.units import Unit

Found: TypeAlias = Iterator[Refusal | Note]


@dataclass(frozen=True)
class Case:
    """One pair of objects, examined, with what its payload would be made of.
    `is_module` says that the object becomes part of a loadable module."""

    examination: Examination
    closure: Closure
    redirects: Redirects
    system: System
    is_module: bool = False

    @cached_property
    def old_referrers(self) -> dict[int, list[Unit]]:
        return referrers(self.examination.old.references)

    @cached_property
    def new_referrers(self) -> dict[int, list[Unit]]:
        return referrers(self.examination.new.references)

"""The seam between the engine and where a patch can live."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from lpengine.errors import TargetError
from lpengine.patch.model import Patch
from lpengine.planner.facts import Facts

DEFAULT_TIMEOUT = timedelta(seconds=1)


def require_no_force(name: str, force: bool) -> None:
    """For targets that change code only while nobody is inside."""
    if force:
        raise TargetError(
            f"{name}: nothing can be forced on this target", cause="unknown-action"
        )


class Target(Protocol):
    """Somewhere a patch can live. Each call is one attempt: it succeeds, or it
    raises TargetError and has changed nothing."""

    @property
    def name(self) -> str:
        """What `open_target` was given: "emulated:DIR"."""
        ...

    @property
    def state_directory(self) -> Path:
        """Where this target's journal and lock are."""
        ...

    def facts(self, patches: Sequence[Patch] = ()) -> Facts: ...

    def load(self, patch: Patch) -> None: ...

    def apply(
        self,
        name: str,
        timeout: timedelta,
        *,
        nodeps: bool = False,
        force: bool = False,
    ) -> None:
        """`force`, here and below: when the time is up, go on although somebody is
        inside the old code; where Capabilities.force."""
        ...

    def revert(self, name: str, timeout: timedelta, *, force: bool = False) -> None: ...

    def replace(
        self, name: str, timeout: timedelta, *, force: bool = False
    ) -> None: ...

    def unload(self, name: str) -> None: ...

    def module(self, name: str) -> Patch:
        """The loaded patch of that name, with the bytes it was loaded from."""
        ...

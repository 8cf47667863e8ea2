"""Programs of the administrator's that are run around what lpengine does.

Those in hooks.d/EVENT/ are run in the order of their names, as run-parts does it, with
one JSON document on standard input. One that fails before something is done vetoes
it; afterwards its failure is only said.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from lpengine.command import CommandError, complete
from lpengine.errors import LpengineError, RefusedError
from lpengine.installer.site import Site

SCHEMA = "lpengine/hook/1"
VETO = "LP-DAT-306"
# What run-parts(8) takes for a program's name: no editor's backups among them.
_NAME = re.compile(r"[A-Za-z0-9_-]+")


class Event(StrEnum):
    PRE_PLAN = "pre-plan"
    PRE_APPLY = "pre-apply"
    POST_APPLY = "post-apply"
    POST_REVERT = "post-revert"
    ON_GUIDANCE = "on-guidance"

    @property
    def vetoes(self) -> bool:
        return self in (Event.PRE_PLAN, Event.PRE_APPLY)


@dataclass(frozen=True)
class HookRun:
    """`error` is "" for one that ended well."""

    event: Event
    name: str
    error: str = ""


def run_hooks(site: Site, event: Event, about: Mapping[str, Any]) -> list[HookRun]:
    """All hooks of an event; a vetoing one is the last that is run."""
    document = {"schema": SCHEMA, "event": event, "host": site.name, **about}
    done = []
    for path in hooks_for(site, event):
        done.append(run_hook(path, event, msgspec.json.encode(document), site.patience))
        if done[-1].error and event.vetoes:
            break
    return done


def hooks_for(site: Site, event: Event) -> list[Path]:
    try:
        found = sorted((site.hooks / event).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    named = (path for path in found if _NAME.fullmatch(path.name))
    return [path for path in named if path.is_file() and os.access(path, os.X_OK)]


def run_hook(path: Path, event: Event, document: bytes, patience: float) -> HookRun:
    name = f"{event}/{path.name}"
    try:
        ended = complete([str(path)], input=document, timeout=patience)
    except LpengineError as error:
        return HookRun(event, name, error.message)
    if ended.status:
        said = CommandError([name], ended.status, "", ended.stderr).line
        return HookRun(event, name, f"status {ended.status}: {said}".rstrip(": "))
    return HookRun(event, name)


def vetoed(runs: Sequence[HookRun]) -> RefusedError | None:
    """The refusal that a hook stands for; None where none has vetoed."""
    for run in runs:
        if run.error and run.event.vetoes:
            return RefusedError(
                f"hook {run.name} vetoes it: {run.error}",
                codes=[VETO],
                hint="put right what the hook objects to, or take it out of hooks.d",
            )
    return None

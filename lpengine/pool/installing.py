"""The seam to whoever installs updates on one host."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import msgspec

from lpengine.errors import (
    InconclusiveError,
    LpengineError,
    NotFoundError,
    RefusedError,
    StuckError,
    TargetError,
)
from lpengine.hosts import Completed, Host
from lpengine.hosts.copies import copied
from lpengine.planner.updates.plan import HostPlan
from lpengine.planner.updates.state import UpdatePolicy
from lpengine.pool.config import HostConfig
from lpengine.targets.host.engine import NO_SUCH_PROGRAM, PROGRAM, run

_TIMEOUT = timedelta(hours=2)
# Exit codes of `lpengine install` after which the updates are on the disk.
_DONE, _TASKS_PENDING, _MEMORY_FAILED = 0, 20, 22
_INSTALLED = (_DONE, _TASKS_PENDING, _MEMORY_FAILED)


class _Error(msgspec.Struct):
    """lpengine/error/1, as far as it matters here."""

    message: str
    hint: str = ""
    cause: str = ""
    codes: list[str] = []
    left: list[str] = []


@dataclass(frozen=True)
class Installed:
    """The disk has the updates. `failed` names the components whose live patch did not
    go on, with what was said of it."""

    failed: tuple[tuple[str, str], ...] = ()


class Installer(Protocol):
    def __call__(
        self,
        host: Host,
        config: HostConfig,
        bundles: Sequence[Path],
        plan: HostPlan,
        policy: UpdatePolicy,
    ) -> Installed:
        """Disk first, then memory, then read back, as the plan says. What is raised
        has changed nothing, but for `StuckError`."""
        ...


def install_there(
    host: Host,
    config: HostConfig,
    bundles: Sequence[Path],
    plan: HostPlan,
    policy: UpdatePolicy,
) -> Installed:
    """By the lpengine that is installed on the host, which decides by the same rules
    and leaves the tasks to us. Guests have left already where they have to."""
    with copied(host, bundles) as there:
        words = ["install", *(there[bundle] for bundle in bundles)]
        words += options(config, plan, policy)
        done = run(host, words, timeout=_TIMEOUT)
    if done.status == NO_SUCH_PROGRAM:
        raise NotFoundError(
            f"{config.name}: there is no {PROGRAM}",
            hint=f"install {PROGRAM} there: hosts without it can be planned for only",
        )
    if done.status in _INSTALLED:
        return Installed(failures(done.stdout) if done.status == _MEMORY_FAILED else ())
    raise failure(config.name, done)


def options(
    config: HostConfig, plan: HostPlan, policy: UpdatePolicy
) -> tuple[str, ...]:
    """What pool and operator allow, as the host's own policy cannot know it."""
    words = ["--mode", "manual", "--yes", "--json", "--level", policy.level.value]
    words += ["--live-patching", "automatic" if plan.apply else "disabled"]
    words += ["--retry-crashed"] if policy.retry_crashed else []
    words += ["--any-time"] if policy.any_time else []
    words += ["--signers", config.signers] if config.signers else []
    return (*words, *config.place.options)


def failures(document: bytes) -> tuple[tuple[str, str], ...]:
    """The components whose live patch did not go on, and why."""
    try:
        found = msgspec.json.decode(document)["failed"]
        return tuple((str(one["component"]), str(one["error"])) for one in found)
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise InconclusiveError(f"not what {PROGRAM} install prints: {error}") from None


def failure(host: str, done: Completed) -> LpengineError:
    """What the far side has said, as an error of the same kind."""
    try:
        said = msgspec.json.decode(done.stdout, type=_Error)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return TargetError(
            f"{host}: {lines[-1] if lines else f'status {done.status}'}",
            hint=f"lpengine history on {host} says how far it came",
        )
    message, hint = f"{host}: {said.message}", said.hint
    if done.status == RefusedError.exit_code:
        return RefusedError(message, codes=said.codes, hint=hint)
    if done.status == StuckError.exit_code:
        return StuckError(message, left=said.left, hint=hint)
    return TargetError(message, cause=said.cause, hint=hint)

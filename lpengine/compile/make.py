"""Runs make in a copy of a tree, the same way every time."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lpengine.command import CommandError, follow
from lpengine.compile.events import Notify, ObjectBuilt
from lpengine.errors import InputError

# What make said last, beside the copy that was built.
BUILD_LOG = "build.log"

_DEADLINE_SECONDS = 7200
_BUILT = re.compile(r"^\s*(?:CC|AS|CC \[M\]|HOSTCC|LDS)\s+(\S+\.o)\b")
_COMPLAINT = re.compile(r"\berror:|\*\*\* |: not found$|No such file or directory$")

# Nothing of the caller's own builds may get in, and no time or name into objects.
_ENVIRONMENT = {
    **dict.fromkeys(("MAKEFLAGS", "MFLAGS", "CFLAGS", "CPPFLAGS", "LDFLAGS"), ""),
    **dict.fromkeys(("KCFLAGS", "KAFLAGS", "KCPPFLAGS", "AFLAGS"), ""),
    "SOURCE_DATE_EPOCH": "0",
    "TZ": "UTC",
}


def available_cpus() -> int:
    return len(os.sched_getaffinity(0))


def make(
    directory: Path,
    goals: Sequence[str],
    *,
    log: Path,
    variables: Mapping[str, str],
    environment: Mapping[str, str],
    jobs: int,
    notify: Notify,
) -> None:
    """Run make in `directory`. InputError with the first complaint where it fails;
    all that it said is in `log`."""
    argv = ["make", f"-j{jobs}", *goals]
    argv += [f"{name}={value}" for name, value in sorted(variables.items())]
    complaints: list[str] = []
    try:
        follow(
            argv,
            _listener(notify, complaints),
            cwd=directory,
            log=log,
            environment={**_ENVIRONMENT, **environment},
            timeout=_DEADLINE_SECONDS,
        )
    except CommandError as error:
        what = complaints[0] if complaints else error.line or error.message
        raise InputError(
            f"{directory}: does not build: {what}", hint=f"all that make said: {log}"
        ) from error


def _listener(notify: Notify, complaints: list[str]) -> Callable[[str], None]:
    count = 0

    def heard(line: str) -> None:
        nonlocal count
        built = _BUILT.match(line)
        if built:
            count += 1
            notify(ObjectBuilt(built[1], count))
        elif _COMPLAINT.search(line):
            complaints.append(line.strip())

    return heard

"""Switches of a pool, changed in pool.toml itself: what people wrote there stays."""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError

from lpengine.errors import InputError, NotFoundError, UsageError
from lpengine.package.files import Replacing, read_small
from lpengine.planner.updates.state import Mode
from lpengine.pool.config import load_fleet, parse_fleet, pools_path

_LARGEST = 64 << 20
_TRUTHS = {"on": True, "true": True, "yes": True, "off": False, "false": False}
_TRUTHS["no"] = False


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTHS:
        raise UsageError(f"{text!r} is neither on nor off")
    return _TRUTHS[text.lower()]


def _mode(text: str) -> str:
    if text not in list(Mode):
        raise UsageError(f"{text!r} is not a mode", hint=f"one of {', '.join(Mode)}")
    return text


SETTINGS: Mapping[str, Callable[[str], bool | str]] = {
    "live_patching": _truth,
    "forbid_restarts": _truth,
    "mode": _mode,
    "edition": str,
    "coordinator": str,
}


def change(pool: str, settings: Mapping[str, str], path: Path | None = None) -> Path:
    """Set these of a pool, all or none; the file that was changed. `UsageError` for a
    setting or value that there is not, `NotFoundError` for a pool."""
    values = {name: value_of(name, text) for name, text in settings.items()}
    path = pools_path(path).resolve()
    with alone(path.parent):
        load_fleet(path).pool(pool)
        changed = edited(read_small(path, _LARGEST), pool, values, path)
        parse_fleet(changed, path)
        mode = path.stat().st_mode & 0o777
        with Replacing(path, mode) as file:
            file.write(changed)
    return path


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """While nobody else changes a file there. It is the directory that is locked: the
    file is replaced by another one, and a lock file would stay behind."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFoundError(f"{directory}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def value_of(name: str, text: str) -> bool | str:
    if name not in SETTINGS:
        raise UsageError(
            f"{name} is not a setting of a pool",
            hint=f"there are {', '.join(SETTINGS)}; the rest is for an editor",
        )
    return SETTINGS[name](text)


def edited(
    raw: bytes, pool: str, values: Mapping[str, bool | str], path: Path
) -> bytes:
    try:
        document = tomlkit.parse(raw)
        table = document["pools"][pool]
        for name, value in values.items():
            table[name] = value
        return tomlkit.dumps(document).encode()
    except (TOMLKitError, KeyError, TypeError) as error:
        raise InputError(f"{path}: {error}", hint="edit it by hand") from error

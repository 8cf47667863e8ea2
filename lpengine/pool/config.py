"""pool.toml: which pools there are, their hosts, and how things are done there."""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import msgspec

from lpengine.errors import InputError, NotFoundError, UsageError
from lpengine.hosts import check_uri
from lpengine.package.files import read_small
from lpengine.planner.updates.state import LIVE_PATCHING, MIGRATION, UPDATES, Mode
from lpengine.pool.commands import (
    ACTIONS,
    Command,
    Commands,
    Where,
    unknown_placeholder,
)
from lpengine.pool.lines import line_of
from lpengine.targets.host.engine import Place

VARIABLE = "LPENGINE_POOLS"
DEFAULT_PATH = Path("/etc/lpengine/pool.toml")
FEATURES = (LIVE_PATCHING, UPDATES, MIGRATION)
_LARGEST = 64 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_DURATION = re.compile(r"(\d{1,6})(s|min|h)")
_UNITS = {"s": 1, "min": 60, "h": 3600}
# How msgspec says where: "... - at `$.key`".
_POINTED = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<key>[^`\[]*)[^`]*`)?")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`")

T = TypeVar("T")


class ToolstackKind(StrEnum):
    """Who manages the pool; AUTO: XAPI where the coordinator has one."""

    AUTO = "auto"
    XAPI = "xapi"
    NONE = "none"


@dataclass(frozen=True)
class HostConfig:
    """`address` is the host's URI; `root` and `config` are for hosts that are not a
    machine of their own: where their files are, and what lpengine there is told of
    them. `components` names targets of components, where those differ. `signers` is the
    file there that says who may sign updates, "" for the host's usual one."""

    name: str
    address: str
    root: str = ""
    config: str = ""
    signers: str = ""
    components: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        return Place(self.root, self.config, self.components)


@dataclass(frozen=True)
class PoolConfig:
    """`coordinator` is "" where the toolstack names it, or where there is but one
    host. `features` is None where the hosts' own licence decides. `deadline` is how
    many seconds a host has to come back after a reboot."""

    name: str
    hosts: tuple[HostConfig, ...]
    coordinator: str = ""
    live_patching: bool = True
    mode: Mode = Mode.AUTOMATIC
    edition: str = ""
    features: tuple[str, ...] | None = None
    toolstack: ToolstackKind = ToolstackKind.AUTO
    forbids_restarts: bool = False
    deadline: float = 1800
    commands: Commands = field(default_factory=dict)

    def host(self, name: str) -> HostConfig:
        return next(host for host in self.hosts if host.name == name)


@dataclass(frozen=True)
class Fleet:
    path: Path
    pools: tuple[PoolConfig, ...]

    def pool(self, name: str) -> PoolConfig:
        """`NotFoundError` for one that there is not."""
        for pool in self.pools:
            if pool.name == name:
                return pool
        known = ", ".join(pool.name for pool in self.pools)
        raise NotFoundError(
            f"{self.path}: there is no pool {name}", hint=f"there are {known}"
        )


# The file on the wire: what is not named here is not understood.


class _Part(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The root of all tables."""


class _Command(_Part, kw_only=True):
    run: str
    on: Where = Where.HOST
    timeout: str = "1h"


class _Host(_Part, kw_only=True):
    address: str
    root: str = ""
    config: str = ""
    signers: str = ""
    components: dict[str, str] = {}


class _Pool(_Part, kw_only=True):
    hosts: dict[str, object]
    coordinator: str = ""
    live_patching: bool = True
    mode: Mode = Mode.AUTOMATIC
    edition: str = ""
    features: list[str] | None = None
    toolstack: ToolstackKind = ToolstackKind.AUTO
    forbid_restarts: bool = False
    reboot_deadline: str = "30min"
    commands: dict[str, object] = {}


class _File(_Part, kw_only=True):
    pools: dict[str, object]


def pools_path(path: Path | None = None) -> Path:
    """The file that was named, else what $LPENGINE_POOLS says, else the system's."""
    return path or Path(os.environ.get(VARIABLE) or DEFAULT_PATH)


def load_fleet(path: Path | None = None) -> Fleet:
    """`NotFoundError` where there is no such file, `InputError` with line and key for
    what in it makes no sense."""
    path = pools_path(path)
    try:
        raw = read_small(path, _LARGEST)
    except NotFoundError as error:
        raise NotFoundError(
            error.message, hint="docs/pools.md says how to write one; or give --pools"
        ) from None
    return parse_fleet(raw, path)


def parse_fleet(raw: bytes, path: Path) -> Fleet:
    try:
        text = raw.decode()
        found = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path}: {error}") from None
    return _Reader(path, text).fleet(found)


class _Reader:
    """Knows the file's text, so that what is wrong can be told with its line."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._text = path, text

    def fleet(self, found: object) -> Fleet:
        pools = self._part(_File, found, ()).pools
        if not pools:
            raise self._wrong(("pools",), "there is no pool")
        return Fleet(
            self._path, tuple(self.pool(name, each) for name, each in pools.items())
        )

    def pool(self, name: str, found: object) -> PoolConfig:
        at = ("pools", name)
        self._name(name, at)
        part = self._part(_Pool, found, at)
        hosts = tuple(self.host(at, each, one) for each, one in part.hosts.items())
        self._check_pool(at, part, hosts)
        return PoolConfig(
            name=name,
            hosts=hosts,
            coordinator=part.coordinator,
            live_patching=part.live_patching,
            mode=part.mode,
            edition=part.edition,
            features=None if part.features is None else tuple(part.features),
            toolstack=part.toolstack,
            forbids_restarts=part.forbid_restarts,
            deadline=self._seconds(part.reboot_deadline, (*at, "reboot_deadline")),
            commands={
                action: self.command((*at, "commands", action), each)
                for action, each in part.commands.items()
            },
        )

    def host(self, pool: Sequence[str], name: str, found: object) -> HostConfig:
        at = (*pool, "hosts", name)
        self._name(name, at)
        table = {"address": found} if isinstance(found, str) else found
        part = self._part(_Host, table, at)
        try:
            check_uri(part.address)
        except UsageError as error:
            raise self._wrong((*at, "address"), error.message, error.hint) from None
        return HostConfig(
            name, part.address, part.root, part.config, part.signers, part.components
        )

    def command(self, at: Sequence[str], found: object) -> Command:
        if at[-1] not in ACTIONS:
            raise self._wrong(
                at, f"there is no {at[-1]}", f"one of {', '.join(ACTIONS)}"
            )
        table = {"run": found} if isinstance(found, str) else found
        part = self._part(_Command, table, at)
        if wrong := unknown_placeholder(part.run):
            raise self._wrong(at, f"{{{wrong}}} is not a placeholder")
        return Command(part.run, part.on, self._seconds(part.timeout, at))

    def _check_pool(
        self, at: Sequence[str], part: _Pool, hosts: Sequence[HostConfig]
    ) -> None:
        names = [host.name for host in hosts]
        if not hosts:
            raise self._wrong((*at, "hosts"), "the pool has no host")
        if part.coordinator and part.coordinator not in names:
            raise self._wrong(
                (*at, "coordinator"),
                f"{part.coordinator} is not a host of the pool",
                f"its hosts are {', '.join(names)}",
            )
        for feature in part.features or ():
            if feature not in FEATURES:
                raise self._wrong(
                    (*at, "features"),
                    f"{feature!r} is not a feature",
                    f"one of {', '.join(FEATURES)}",
                )

    def _part(self, kind: type[T], found: object, at: Sequence[str]) -> T:
        try:
            return msgspec.convert(found, kind)
        except msgspec.ValidationError as error:
            message, key = _pointed(str(error))
            raise self._wrong((*at, *key), message) from None

    def _name(self, name: str, at: Sequence[str]) -> None:
        if not _NAME.fullmatch(name):
            raise self._wrong(at, f"{name!r} is not a name", "letters, digits, . _ -")

    def _seconds(self, text: str, at: Sequence[str]) -> float:
        found = _DURATION.fullmatch(text)
        if found is None:
            raise self._wrong(at, f"{text!r} is not a time", "like 90s, 30min or 2h")
        return float(found[1]) * _UNITS[found[2]]

    def _wrong(self, at: Sequence[str], what: str, hint: str = "") -> InputError:
        line = line_of(self._text, at)
        key = ".".join(at) or "the file"
        return InputError(f"{self._path}:{line}: {key}: {what}", hint=hint)


def _pointed(message: str) -> tuple[str, tuple[str, ...]]:
    """What msgspec says without where it says so, and the key."""
    found = _POINTED.fullmatch(message)
    what, key = (found["what"], found["key"] or "") if found else (message, "")
    unknown = _UNKNOWN.fullmatch(what)
    if unknown:
        return f"there is no {unknown['key']}", (unknown["key"],)
    return what, tuple(filter(None, key.split(".")))

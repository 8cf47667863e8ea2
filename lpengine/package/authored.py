"""What people write: an update as TOML, beside the files that go into it.

Build ids, names and versions are read from the modules and packages themselves; what
the author says as well must agree. Nothing is guessed: what is unknown or missing is
an error that names its place.
"""

import re
import stat
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import lpengine.package.manifest as wire
from lpengine.errors import InputError
from lpengine.package.contents import check_disk, content_of
from lpengine.package.distribution import PREFIX, read_package
from lpengine.package.doubts import Malformed
from lpengine.package.files import read_small, read_start
from lpengine.package.manifest_reader import convert
from lpengine.package.model import (
    FAILURES,
    PROCESS,
    XAPI_WORDS,
    Applicability,
    Content,
    DiskFile,
    DiskPackage,
    Inequality,
    Level,
    LivePatch,
    Task,
    Update,
)
from lpengine.package.modules import base_build_id_of, check_module, read_module
from lpengine.package.versions import parse_debian
from lpengine.patch.model import Patch

TEMPLATE = Path(__file__).with_name("update.toml")

_LARGEST_TEXT = 1 << 20
_LARGEST_MODULE = 64 << 20
_NAME_SHOWN = 60
T = TypeVar("T")
Row = TypeVar("Row")

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.+~@=,-]")

# What can be asked for, and what an uncovered component needs at the least.
_TASKS = tuple(task for task in Task if task not in FAILURES)


class AuthoredPatch(wire.Part, frozen=True, kw_only=True):
    component: wire.Component
    file: wire.Line
    base: wire.Line
    to: wire.Line
    base_build_id: wire.BuildId = ""
    name: wire.PatchName = ""


class AuthoredFile(wire.Part, frozen=True, kw_only=True):
    path: wire.Path
    source: wire.Line
    mode: wire.Mode = ""
    owner: wire.Account = "root"
    group: wire.Account = "root"


class AuthoredPackage(wire.Part, frozen=True, kw_only=True):
    file: wire.Line


class AuthoredApplicability(wire.Part, frozen=True, kw_only=True):
    name: wire.PackageName
    architecture: wire.Architecture
    inequality: Inequality
    version: wire.Line


class Authored(wire.Part, frozen=True, kw_only=True):
    id: wire.Id
    title: wire.Line = ""
    summary: wire.Line = ""
    description: wire.Text = ""
    type: wire.Line = ""
    url: wire.Line = ""
    issued: datetime | None = None
    severity: wire.Line = ""
    cves: tuple[wire.Cve, ...] = ()
    components: tuple[wire.Component, ...] = ()
    livepatches: tuple[AuthoredPatch, ...] = ()
    files: tuple[AuthoredFile, ...] = ()
    packages: tuple[AuthoredPackage, ...] = ()
    guidance: dict[str, list[str]] | None = None
    applicabilities: tuple[AuthoredApplicability, ...] = ()
    requires: tuple[wire.Id, ...] = ()
    conflicts: tuple[wire.Id, ...] = ()
    installation_size: wire.InstallationSize | None = None
    homogeneous: bool = False


def read_authored(path: Path) -> tuple[Update, dict[str, Path]]:
    """(update, where its contents are, by member) of what an author wrote. InputError
    names what is wrong, and where."""
    try:
        data = tomllib.loads(read_small(path, _LARGEST_TEXT).decode())
        return _Author(path.parent).update(convert(data, Authored))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not TOML: {error}") from None
    except Malformed as error:
        where = f"{error.where.removeprefix('.')}: " if error.where else ""
        raise InputError(
            f"{path}: {where}{error.what}",
            hint="`lpengine bundle create --template` shows what can be said",
        ) from None


class _Author:
    """One update on its way; `directory` is where its files are looked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sources: dict[str, Path] = {}
        self.installed = 0

    def update(self, authored: Authored) -> tuple[Update, dict[str, Path]]:
        livepatches = self.rows("livepatches", authored.livepatches, self.livepatch)
        files = self.rows("files", authored.files, self.file)
        packages = self.rows("packages", authored.packages, self.package)
        if not (livepatches or files or packages):
            raise Malformed("", "an update without live patches, files and packages")
        _check_relations(authored)
        components = {*authored.components, *(each.component for each in livepatches)}
        size = authored.installation_size
        update = Update(
            id=authored.id,
            title=authored.title,
            summary=authored.summary,
            description=authored.description,
            type=authored.type,
            url=authored.url,
            issued=_issued(authored.issued),
            severity=authored.severity,
            cves=tuple(sorted(set(authored.cves))),
            components=tuple(sorted(components)),
            livepatches=livepatches,
            files=files,
            packages=packages,
            guidance=_guidance(authored.guidance, components),
            applicabilities=self.rows(
                "applicabilities", authored.applicabilities, _applicability
            ),
            requires=tuple(authored.requires),
            conflicts=tuple(authored.conflicts),
            installation_size=self.installed if size is None else size,
            homogeneous=authored.homogeneous,
        )
        check_disk(update)
        return update, self.sources

    def rows(
        self, key: str, rows: Sequence[Row], make: Callable[[Row], T]
    ) -> tuple[T, ...]:
        made = []
        for number, row in enumerate(rows):
            try:
                made.append(make(row))
            except Malformed as error:
                where = f"{key}[{number}]"
                raise Malformed(where, f"{error.where}: {error.what}") from None
            except ValueError as error:
                raise Malformed(f"{key}[{number}]", str(error)) from None
        return tuple(made)

    def livepatch(self, row: AuthoredPatch) -> LivePatch:
        source = self.source(row.file)
        patch = read_module(read_small(source, _LARGEST_MODULE), row.file)
        made_for = base_build_id_of(patch)
        if not made_for and not row.base_build_id:
            raise Malformed(
                row.file, "does not say which build it is for; say base_build_id"
            )
        livepatch = LivePatch(
            component=row.component,
            base_build_id=row.base_build_id or made_for,
            base=parse_debian(row.base),
            to=parse_debian(row.to),
            content=self.content("livepatches", source),
            # A kernel module has its name within it, a payload gets it when loaded.
            name=row.name or _name_of(patch, row.file),
        )
        check_module(livepatch, patch)
        return livepatch

    def file(self, row: AuthoredFile) -> DiskFile:
        source = self.source(row.source)
        executable = source.stat().st_mode & stat.S_IXUSR
        content = self.content("files", source)
        self.installed += content.size
        return DiskFile(
            path=row.path,
            mode=int(row.mode, 8) if row.mode else (0o755 if executable else 0o644),
            owner=row.owner,
            group=row.group,
            content=content,
        )

    def package(self, row: AuthoredPackage) -> DiskPackage:
        source = self.source(row.file)
        found = read_package(read_start(source, PREFIX), row.file)
        content = self.content("packages", source)
        self.installed += found.installed_size or content.size
        return DiskPackage(
            format=found.format,
            name=found.name,
            architecture=found.architecture,
            version=found.version,
            content=content,
        )

    def source(self, name: str) -> Path:
        source = self.directory / name
        if not source.is_file():
            what = "not a file" if source.exists() else "no such file"
            raise Malformed(name, what)
        return source

    def content(self, kind: str, source: Path) -> Content:
        """The content of a file, under a name that shows what it is and that no
        other content has."""
        content = content_of("", source)
        shown = _NOT_IN_NAMES.sub("_", source.name)[-_NAME_SHOWN:]
        same = [
            member
            for member in self.sources
            if member.startswith(f"{kind}/{content.sha256[:16]}-")
        ]
        member = same[0] if same else f"{kind}/{content.sha256[:16]}-{shown}"
        self.sources[member] = source
        return replace(content, member=member)


def _check_relations(authored: Authored) -> None:
    """An update that could go onto no host is its author's mistake."""
    for where, ids in (
        ("requires", authored.requires),
        ("conflicts", authored.conflicts),
    ):
        if authored.id in ids:
            raise Malformed(where, "the update itself")
    if both := set(authored.requires).intersection(authored.conflicts):
        raise Malformed("conflicts", f"{min(both)} is required, too")


def _name_of(patch: Patch, file: str) -> str:
    try:
        return convert(patch.name, wire.PatchName)
    except Malformed:
        raise Malformed(file, f"{patch.name!r} is no patch's name; say name") from None


def _applicability(row: AuthoredApplicability) -> Applicability:
    return Applicability(
        row.name, row.architecture, row.inequality, parse_debian(row.version)
    )


def _issued(time: datetime | None) -> str:
    if time is None:
        return ""
    if time.tzinfo is None:
        raise Malformed("issued", "without a time zone: write 2026-11-25T12:00:00Z")
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _task(word: str, where: str) -> Task:
    for task in _TASKS:
        if word == task or XAPI_WORDS.get(word) is task:
            return task
    raise Malformed(where, f"{word!r} is none of {', '.join(_TASKS)}")


def _guidance(
    authored: dict[str, list[str]] | None, components: set[str]
) -> dict[Level, tuple[str, ...]]:
    """The author's guidance; without, what makes every component take effect."""
    needed = {
        Task.RESTART_PROCESS if each.startswith(PROCESS) else Task.REBOOT_HOST
        for each in components
    }
    if authored is None:
        return {Level.RECOMMENDED: tuple(sorted(needed))} if needed else {}
    found: dict[Level, tuple[str, ...]] = {}
    for level, words in authored.items():
        if level not in list(Level):
            raise Malformed(f"guidance.{level}", f"none of {', '.join(Level)}")
        found[Level(level)] = tuple(_task(word, f"guidance.{level}") for word in words)
    asked = {*found.get(Level.MANDATORY, ()), *found.get(Level.RECOMMENDED, ())}
    if missing := needed - asked - {Task.RESTART_PROCESS}:
        raise Malformed(
            "guidance.recommended",
            f"lacks {min(missing)}: what is to happen where no live patch applies",
        )
    return found

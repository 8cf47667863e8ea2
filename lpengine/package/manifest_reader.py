"""Reads a manifest, and doubts what it does not understand.

What is unknown or malformed is reported as a Defect and taken as unsafe: a live patch
is not relied on, a word of guidance counts as a reboot, guidance whose condition is
unclear always counts. Where there is no safe reading, of what is to be put on the
disk or of what must be there before, the manifest is refused as a whole.
"""

import json
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

import lpengine.package.manifest as wire
from lpengine.errors import InputError
from lpengine.package.doubts import Doubts, Malformed, clipped
from lpengine.package.model import (
    Applicability,
    Content,
    DiskFile,
    DiskPackage,
    Level,
    LivePatch,
    Update,
    Version,
)

T = TypeVar("T")


def read_manifest(raw: bytes, path: str) -> tuple[Update, tuple[Content, ...]]:
    """(the update that a manifest describes, contents of what it does not rely on).
    `path` is for InputError, which is raised where the whole is no manifest, or not
    one to act on."""
    data = _parse(raw, path)
    if (schema := data.pop("schema", None)) != wire.SCHEMA:
        raise InputError(
            f"{path}: its schema is {schema!r}, not {wire.SCHEMA!r}",
            hint="a newer update may need a newer lpengine",
        )
    reading = _Reading(data)
    try:
        return reading.update(), tuple(reading.unused)
    except Malformed as error:
        raise InputError(
            f"{path}: {error}", hint="the publisher has to make it anew"
        ) from None


def _parse(raw: bytes, path: str) -> dict[str, Any]:
    try:
        data = json.loads(
            raw.decode(), object_pairs_hook=_unique, parse_constant=_no_number
        )
        # JSON can escape halves of characters, which no text can hold.
        json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: not a manifest, but {type(data).__name__}")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def convert(value: object, kind: type[T]) -> T:
    """The value as `kind`, or Malformed with the place in it."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        for pattern, form in wire.FORMS.items():
            if repr(pattern) in what:
                what = f"not {form}"
        raise Malformed(where.rstrip("`"), what) from None


class _Reading:
    """One manifest on its way to an Update."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.doubts = Doubts()
        self.unused: list[Content] = []

    def update(self) -> Update:
        files = self.needed("files", list[wire.FilePart], [])
        packages = self.needed("packages", list[wire.PackagePart], [])
        components = self.components()
        update = Update(
            id=self.needed("id", wire.Id),
            title=self.plain("title", wire.Line, ""),
            summary=self.plain("summary", wire.Line, ""),
            description=self.plain("description", wire.Text, ""),
            type=self.plain("type", wire.Line, ""),
            url=self.plain("url", wire.Line, ""),
            issued=self.plain("issued", wire.Time, ""),
            severity=self.plain("severity", wire.Line, ""),
            cves=tuple(self.each("cves", wire.Cve)),
            livepatches=self.livepatches(components),
            components=tuple(components),
            files=tuple(map(_file, files)),
            packages=tuple(map(_package, packages)),
            guidance=self.guidance(),
            applicabilities=self.applicabilities(),
            requires=tuple(self.needed("requires", list[wire.Id], [])),
            conflicts=tuple(self.needed("conflicts", list[wire.Id], [])),
            installation_size=self.installation_size([*files, *packages]),
            homogeneous=self.homogeneous(),
        )
        for key in self.data:
            self.doubts.general(key, "unknown")
        return self.doubts.settle(update)

    def needed(self, key: str, kind: type[T], absent: T | None = None) -> T:
        """A part that has no safe reading but the right one."""
        if key not in self.data:
            if absent is None:
                raise Malformed(key, "missing")
            return absent
        try:
            return convert(self.data.pop(key), kind)
        except Malformed as error:
            raise Malformed(key + error.where, error.what) from None

    def plain(self, key: str, kind: type[T], safe: T) -> T:
        """A part that has a safe value, for when it is malformed or not there."""
        if key not in self.data:
            return safe
        try:
            return convert(self.data.pop(key), kind)
        except Malformed as error:
            self.doubts.note(key + error.where, error.what)
            return safe

    def rows(self, key: str) -> list[Any]:
        rows = self.data.pop(key, [])
        if isinstance(rows, list):
            return rows
        self.doubts.general(key, "not a list")
        return []

    def each(self, key: str, kind: type[T]) -> Iterator[T]:
        """The rows that are well formed."""
        for number, row in enumerate(self.rows(key)):
            try:
                yield convert(row, kind)
            except Malformed as error:
                self.doubts.note(f"{key}[{number}]{error.where}", error.what)

    def components(self) -> list[str]:
        components = []
        for number, row in enumerate(self.rows("components")):
            where = f"components[{number}]"
            if not isinstance(row, str):
                self.doubts.general(where, "not a component")
                continue
            components.append(clipped(row))
            try:
                convert(row, wire.Component)
            except Malformed as error:
                self.doubts.about(clipped(row), where, error.what)
        return components

    def livepatches(self, components: list[str]) -> tuple[LivePatch, ...]:
        """The rows that can be relied on; `components` gets those that it lacks."""
        found: dict[tuple[str, str, Version], LivePatch] = {}
        for number, row in enumerate(self.rows("livepatches")):
            where = f"livepatches[{number}]"
            component = _component_of(row)
            self.unused += _content_of(row)
            if not component:
                self.doubts.general(where, "of no known component")
                continue
            if component not in components:
                components.append(component)
            try:
                read = _livepatch(convert(row, wire.LivePatchPart))
            except Malformed as error:
                self.doubts.about(component, where + error.where, error.what)
                continue
            key = (component, read.base_build_id, read.to)
            if found.setdefault(key, read) != read:
                self.doubts.about(component, where, "contradicts an earlier one")
        return tuple(found.values())

    def guidance(self) -> dict[Level, tuple[str, ...]]:
        levels = self.data.pop("guidance", {})
        if not isinstance(levels, dict):
            self.doubts.general("guidance", "not a table")
            return {}
        found: dict[Level, tuple[str, ...]] = {}
        for name, words in levels.items():
            level, where = self.level(name), f"guidance.{name}"
            if isinstance(words, list):
                read = tuple(self.doubts.word(word, where) for word in words)
                found[level] = found.get(level, ()) + read
            else:
                self.doubts.general(where, "not a list")
        return found

    def level(self, name: str) -> Level:
        if name in list(Level):
            return Level(name)
        # The level that nothing softens.
        self.doubts.note(f"guidance.{name}", "unknown, taken as mandatory")
        return Level.MANDATORY

    def applicabilities(self) -> tuple[Applicability, ...]:
        before = len(self.doubts)
        parts = list(self.each("applicabilities", wire.ApplicabilityPart))
        if len(self.doubts) > before:
            return ()
        return tuple(map(_applicability, parts))

    def installation_size(self, parts: list[wire.FilePart | wire.PackagePart]) -> int:
        if "installation_size" not in self.data:
            return 0
        packed = sum(part.content.size for part in parts)
        return self.plain("installation_size", wire.InstallationSize, packed)

    def homogeneous(self) -> bool:
        return "homogeneous" in self.data and self.plain("homogeneous", bool, True)


def _component_of(row: object) -> str:
    """The component that a live patch's row is about, "" if it does not say."""
    component = row.get("component") if isinstance(row, dict) else None
    try:
        return convert(component, wire.Component)
    except Malformed:
        return ""


def _content_of(row: object) -> list[Content]:
    """The content that a live patch's row names, whatever else is in it."""
    try:
        part = row.get("content") if isinstance(row, dict) else None
        return [_content(convert(part, wire.ContentPart))]
    except Malformed:
        return []


def _livepatch(part: wire.LivePatchPart) -> LivePatch:
    return LivePatch(
        component=part.component,
        base_build_id=part.base_build_id,
        base=_version(part.base),
        to=_version(part.to),
        content=_content(part.content) if part.content else None,
        name=part.name,
    )


def _file(part: wire.FilePart) -> DiskFile:
    return DiskFile(
        path=part.path,
        mode=int(part.mode, 8),
        owner=part.owner,
        group=part.group,
        content=_content(part.content),
    )


def _package(part: wire.PackagePart) -> DiskPackage:
    return DiskPackage(
        format=part.format,
        name=part.name,
        architecture=part.architecture,
        version=_version(part.version),
        content=_content(part.content),
    )


def _applicability(part: wire.ApplicabilityPart) -> Applicability:
    return Applicability(
        name=part.name,
        architecture=part.architecture,
        inequality=part.inequality,
        version=_version(part.version),
    )


def _version(part: wire.VersionPart) -> Version:
    return Version(part.version, part.release, part.epoch)


def _content(part: wire.ContentPart) -> Content:
    return Content(part.member, part.sha256, part.size)

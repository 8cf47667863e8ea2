"""The manifest on the wire: `manifest.json`, schema lpengine/update/1.

These types are its JSON Schema too. Reading them back is `manifest_reader`'s, which
forgives what can be forgiven safely; writing knows only what is right.
"""

from typing import Annotated, Any, Final, Literal

import msgspec

from lpengine.errors import UsageError
from lpengine.package.model import (
    Applicability,
    Content,
    DiskFile,
    DiskPackage,
    Inequality,
    Level,
    LivePatch,
    PackageFormat,
    Update,
    Version,
)

SCHEMA: Final = "lpengine/update/1"


FORMS: dict[str, str] = {}
"""A pattern of these types to what it asks for, in words."""


def whole(pattern: str, longest: int, form: str) -> msgspec.Meta:
    """A text that is `pattern` from end to end; `$` alone lets a newline follow."""
    full = rf"^(?:{pattern})(?![\s\S])"
    FORMS[full] = form
    return msgspec.Meta(pattern=full, max_length=longest)


_VERSION = r"[A-Za-z0-9._+~^:-]+"
_COMPONENT = r"xen|kernel|process:[A-Za-z0-9._+@-]+"
_PATH = r"(?:/(?!\.{1,2}(?:/|(?![\s\S])))[^/\x00-\x1f\x7f]+)+"
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"

Line = Annotated[str, whole(r"[^\x00-\x1f\x7f]*", 1000, "one line of text")]
Text = Annotated[str, whole(r"[^\x00-\x08\x0b-\x1f\x7f]*", 100_000, "text")]
Id = Annotated[
    str, whole(r"[A-Za-z0-9][A-Za-z0-9._+:~-]*", 128, "a name without blanks")
]
Time = Annotated[str, whole(_TIME, 20, "a time as 2026-11-25T12:00:00Z")]
Cve = Annotated[str, whole(r"CVE-\d{4}-\d{4,}", 32, "CVE-YEAR-NUMBER")]
Component = Annotated[str, whole(_COMPONENT, 80, "xen, kernel or process:NAME")]
BuildId = Annotated[str, whole(r"(?:[0-9a-f]{2})+", 128, "lowercase hexadecimal")]
PatchName = Annotated[str, whole(r"[A-Za-z0-9_.+-]*", 127, "a patch's name")]
VersionText = Annotated[str, whole(_VERSION, 128, "a version")]
Release = Annotated[str, whole(r"[A-Za-z0-9._+~^]*", 128, "a release")]
PackageName = Annotated[
    str, whole(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", 128, "a package's name")
]
Architecture = Annotated[str, whole(r"[A-Za-z0-9_-]+", 32, "an architecture")]
Path = Annotated[str, whole(_PATH, 4095, "an absolute path without . and ..")]
Account = Annotated[str, whole(r"[a-z_][a-z0-9_.-]*\$?", 32, "the name of an account")]
Mode = Annotated[str, whole(r"[0-7]{4}", 4, "four octal digits in quotes")]
Sha256 = Annotated[str, whole(r"[0-9a-f]{64}", 64, "a SHA-256 in hexadecimal")]
Size = Annotated[int, msgspec.Meta(ge=0, le=(1 << 33) - 1)]
InstallationSize = Annotated[int, msgspec.Meta(ge=0, le=1 << 50)]
Word = Annotated[str, whole(r"[^\x00-\x20\x7f]+", 64, "a word")]


class Part(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """The root of all parts: what is not named here is not understood."""


class VersionPart(Part, frozen=True, kw_only=True):
    version: VersionText
    release: Release = ""
    epoch: Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)] | None = None


class ContentPart(Part, frozen=True, kw_only=True):
    member: Line
    sha256: Sha256
    size: Size


class LivePatchPart(Part, frozen=True, kw_only=True):
    component: Component
    base_build_id: BuildId
    base: VersionPart
    to: VersionPart
    name: PatchName = ""
    content: ContentPart | None = None


class FilePart(Part, frozen=True, kw_only=True):
    path: Path
    mode: Mode
    owner: Account
    group: Account
    content: ContentPart


class PackagePart(Part, frozen=True, kw_only=True):
    format: PackageFormat
    name: PackageName
    architecture: Architecture
    version: VersionPart
    content: ContentPart


class ApplicabilityPart(Part, frozen=True, kw_only=True):
    name: PackageName
    architecture: Architecture
    inequality: Inequality
    version: VersionPart


class Manifest(Part, frozen=True, kw_only=True):
    """The root. All that has a default may be left out."""

    schema: Literal["lpengine/update/1"]
    id: Id
    title: Line = ""
    summary: Line = ""
    description: Text = ""
    type: Line = ""
    url: Line = ""
    issued: Time | None = None
    severity: Line = ""
    cves: list[Cve] = []
    components: list[Component] = []
    livepatches: list[LivePatchPart] = []
    files: list[FilePart] = []
    packages: list[PackagePart] = []
    guidance: dict[Level, list[Word]] = {}
    applicabilities: list[ApplicabilityPart] = []
    requires: list[Id] = []
    conflicts: list[Id] = []
    installation_size: InstallationSize = 0
    homogeneous: bool = False


def json_schema() -> dict[str, Any]:
    return msgspec.json.schema(Manifest)


def encode(update: Update) -> bytes:
    """The manifest of an update: the same for the same update, however its parts
    were ordered. UsageError for one that no manifest can tell."""
    if update.defects:
        defect = update.defects[0]
        raise UsageError(f"{update.id}: cannot be packed: {defect.where} {defect.what}")
    raw = msgspec.json.format(msgspec.json.encode(_manifest(update)), indent=1) + b"\n"
    try:
        msgspec.json.decode(raw, type=Manifest)
    except msgspec.ValidationError as error:
        raise UsageError(f"{update.id or 'the update'}: {error}") from None
    return raw


def _manifest(update: Update) -> Manifest:
    words = {level: list(update.guidance.get(level, ())) for level in Level}
    patches = (_livepatch(livepatch) for livepatch in update.livepatches)
    packages = (_package(package) for package in update.packages)
    return Manifest(
        schema=SCHEMA,
        id=update.id,
        title=update.title,
        summary=update.summary,
        description=update.description,
        type=update.type,
        url=update.url,
        issued=update.issued or None,
        severity=update.severity,
        cves=sorted(update.cves),
        components=sorted(update.components),
        livepatches=sorted(patches, key=msgspec.json.encode),
        files=sorted(map(_file, update.files), key=lambda file: file.path),
        packages=sorted(packages, key=msgspec.json.encode),
        guidance={level: found for level, found in words.items() if found},
        applicabilities=[_applicability(each) for each in update.applicabilities],
        requires=sorted(update.requires),
        conflicts=sorted(update.conflicts),
        installation_size=update.installation_size,
        homogeneous=update.homogeneous,
    )


def _livepatch(livepatch: LivePatch) -> LivePatchPart:
    return LivePatchPart(
        component=livepatch.component,
        base_build_id=livepatch.base_build_id,
        base=_version(livepatch.base),
        to=_version(livepatch.to),
        name=livepatch.name,
        content=_content(livepatch.content) if livepatch.content else None,
    )


def _file(file: DiskFile) -> FilePart:
    return FilePart(
        path=file.path,
        mode=f"{file.mode:04o}",
        owner=file.owner,
        group=file.group,
        content=_content(file.content),
    )


def _package(package: DiskPackage) -> PackagePart:
    return PackagePart(
        format=package.format,
        name=package.name,
        architecture=package.architecture,
        version=_version(package.version),
        content=_content(package.content),
    )


def _applicability(each: Applicability) -> ApplicabilityPart:
    return ApplicabilityPart(
        name=each.name,
        architecture=each.architecture,
        inequality=each.inequality,
        version=_version(each.version),
    )


def _version(version: Version) -> VersionPart:
    return VersionPart(
        version=version.version, release=version.release, epoch=version.epoch
    )


def _content(content: Content) -> ContentPart:
    return ContentPart(member=content.member, sha256=content.sha256, size=content.size)

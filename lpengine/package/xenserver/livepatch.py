"""A live patch in XenServer's words: in attributes, in what a package provides, and in
the names of files."""

import re

from lpengine.package.doubts import Malformed
from lpengine.package.model import KERNEL, XEN, LivePatch, Version

SUFFIXES = {XEN: "livepatch", KERNEL: "ko"}

_PROVIDE = re.compile(
    r"livepatch\(component/([^/]*)/base/([^/]*)/to/([^/]*)/base-buildid/([^/]*)\)"
)
_BUILD_ID = re.compile(r"[0-9a-fA-F]+")
_VERSION = re.compile(r"[A-Za-z0-9._+~^]+")


def component_of(text: str) -> str:
    """ "xen" or "kernel", in whatever case it was written; "" for anything else."""
    component = text.lower()
    return component if component in SUFFIXES else ""


def livepatch_of(component: str, base: str, to: str, build_id: str) -> LivePatch:
    """Malformed, naming XenServer's attribute, where one is not as it must be."""
    if not _BUILD_ID.fullmatch(build_id):
        raise Malformed("base-buildid", f"{build_id!r} is no build id")
    before, after = version_of(base, "base"), version_of(to, "to")
    return LivePatch(
        component=component,
        base_build_id=build_id.lower(),
        base=before,
        to=after,
        name=loaded_name(component, before, after),
    )


def version_of(text: str, where: str) -> Version:
    """VERSION-RELEASE, with one dash and no epoch."""
    version, dash, release = text.partition("-")
    if not (dash and _VERSION.fullmatch(version) and _VERSION.fullmatch(release)):
        raise Malformed(where, f"{text!r} is not VERSION-RELEASE")
    return Version(version, release)


def parse_provide(text: str) -> LivePatch | None:
    """The live patch that a package says it provides; None for what else it
    provides. Malformed for one that cannot be read."""
    if not text.startswith("livepatch("):
        return None
    found = _PROVIDE.fullmatch(text)
    component = component_of(found[1]) if found else ""
    if not found or not component:
        raise Malformed(text, "not a live patch of a known component")
    return livepatch_of(component, found[2], found[3], found[4])


def file_name(livepatch: LivePatch) -> str:
    """What the file with the module is called."""
    parts = (
        livepatch.base.version,
        livepatch.base.release,
        livepatch.to.version,
        livepatch.to.release,
    )
    stem = "__".join(part.replace(".", "_") for part in parts)
    return f"lp_{stem}.{SUFFIXES[livepatch.component]}"


def loaded_name(component: str, base: Version, to: Version) -> str:
    """What the module is called once it is loaded: a payload gets its name then, a
    kernel module has that of its file."""
    if component == XEN:
        return f"lp_{base}-{to}"
    return file_name(LivePatch(component, "", base, to)).removesuffix(".ko")

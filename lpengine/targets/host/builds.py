"""What runs on a host: of each component the build that was booted, and how far live
patches have brought it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lpengine.package.model import KERNEL, XEN, Version
from lpengine.package.versions import rpm_order
from lpengine.planner.updates.state import RunningComponent
from lpengine.targets.host.answers import Answers
from lpengine.targets.host.livepatches import (
    Reader,
    applied_in_xen,
    enabled_in_kernel,
    enabled_in_kpatch,
    kernel_span,
    spans,
    xen_span,
)
from lpengine.targets.linux_tree import build_id_in

_BUILD_ID = re.compile(r"[0-9a-f]{8,128}")
_XL_ROW = re.compile(r"(\w+)\s*: ?(.*)")
_XEN_BUILD_ID_SIZE = 20
_CONTROL = "control_d"

# Versions by live patch, for those whose names do not tell: (component, name).
Known = Mapping[tuple[str, str], Version]

NAME_READERS: Mapping[str, Reader] = {XEN: xen_span, KERNEL: kernel_span}


@dataclass(frozen=True)
class Build:
    """A component as it was seen. `applied` is None where that could not be read;
    `version` is for people."""

    component: str
    build_id: str
    applied: tuple[str, ...] | None
    version: str = ""


@dataclass(frozen=True)
class Builds:
    running: tuple[Build, ...] = ()
    not_running: frozenset[str] = field(default_factory=frozenset)


# Asks for a component's applied patches where the host's own tools cannot tell.
Fallback = Callable[[str], tuple[str, ...] | None]


def builds(answers: Answers, fallback: Fallback) -> Builds:
    kernel = kernel_build(answers)
    if not runs_xen(answers):
        return Builds((kernel,), frozenset({XEN}))
    return Builds((xen_build(answers, fallback), kernel))


def runs_xen(answers: Answers) -> bool:
    """Whether this is the control domain of a Xen. What cannot be told counts as
    one: then nothing is known of its hypervisor, and that is the safe side."""
    if answers.text("xl_info"):
        return True
    if answers.text("hypervisor") != "xen":
        return False
    rights = answers.text("domain_rights")
    return rights is None or _CONTROL in rights


def xen_build(answers: Answers, fallback: Fallback) -> Build:
    rows = xl_rows(answers.text("xl_info") or "")
    listing = answers.text("xen_livepatch")
    if answers.lacks("xen_livepatch"):
        applied = fallback(XEN)
    else:
        applied = None if listing is None else applied_in_xen(listing)
    return Build(
        XEN,
        as_build_id(rows.get("build_id", "")) or xen_build_id(answers),
        applied,
        rows.get("xen_version", "") or sysfs_version(answers),
    )


def xl_rows(text: str) -> dict[str, str]:
    found = (_XL_ROW.fullmatch(line.strip()) for line in text.splitlines())
    return {row[1]: row[2].strip() for row in found if row}


def xen_build_id(answers: Answers) -> str:
    """Linux before 6.2 shows the bytes themselves, up to the first zero: what is not
    whole is not known."""
    raw = answers.hexadecimal("xen_build_id") or b""
    text = as_build_id(raw.decode("ascii", "replace").strip())
    return text or (raw.hex() if len(raw) == _XEN_BUILD_ID_SIZE else "")


def as_build_id(text: str) -> str:
    text = text.strip().lower()
    return text if _BUILD_ID.fullmatch(text) else ""


def sysfs_version(answers: Answers) -> str:
    parts = [answers.text(f"xen_{part}") for part in ("major", "minor", "extra")]
    major, minor, extra = parts
    return f"{major}.{minor}{extra or ''}" if major and minor else ""


def kernel_build(answers: Answers) -> Build:
    return Build(
        KERNEL,
        build_id_in(answers.hexadecimal("kernel_notes") or b""),
        kernel_patches(answers),
        answers.text("release") or "",
    )


def kernel_patches(answers: Answers) -> tuple[str, ...] | None:
    """From the kernel itself, which knows what is enabled. One without live patching
    has none, unless kpatch's own module stands in for it."""
    shown = answers.text("klp")
    if shown is not None:
        return enabled_in_kernel(shown)
    if not answers.lacks("klp"):
        return None
    if answers.lacks("kpatch"):
        return ()
    listing = answers.text("kpatch")
    return None if listing is None else enabled_in_kpatch(listing)


def running(build: Build, known: Known) -> RunningComponent:
    """The newest version that an applied patch brings the component to. One whose
    name says nothing and that nobody knows is somebody's own."""
    if build.applied is None:
        return RunningComponent(build.component, build.build_id, half_known=True)
    read = NAME_READERS.get(build.component, xen_span)
    told, doubtful = spans(named_otherwise(build, known), read)
    reached = [span.to for span in told]
    reached += [
        known[build.component, name]
        for name in build.applied
        if (build.component, name) in known
    ]
    return RunningComponent(
        build.component,
        build.build_id,
        max(reached, key=rpm_order, default=None),
        told[0].base if told else None,
        half_known=doubtful,
    )


def named_otherwise(build: Build, known: Known) -> Sequence[str]:
    applied = build.applied or ()
    return [name for name in applied if (build.component, name) not in known]

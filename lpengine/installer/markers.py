"""What other programs read: /run/reboot-required, effective.json, metrics."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from lpengine.installer.site import Site

EFFECTIVE = "lpengine/effective.json"
SCHEMA = "lpengine/effective/1"
# Debian's: the first is there to be seen, the second names who asked for it.
REQUIRED, PACKAGES = "reboot-required", "reboot-required.pkgs"
_TEXT = "*** System restart required by lpengine ***\n"
_MINE = "lpengine:"


@dataclass(frozen=True)
class EffectiveComponent:
    """`version` is what the component amounts to with its live patches, `booted` what
    was started; "" where that is not known."""

    component: str
    build_id: str
    booted: str
    version: str
    patches: tuple[str, ...]


@dataclass(frozen=True)
class Effective:
    """What is in effect, and what is left to do. `reasons` are the updates or live
    patches that a reboot is waited for because of. `mismatch`: memory and disk do not
    have the same fixes. `changed` is when the host was changed last, "" for never."""

    components: tuple[EffectiveComponent, ...]
    updates: tuple[str, ...]
    pending: tuple[str, ...]
    reboot_required: bool
    reasons: tuple[str, ...]
    failed: tuple[str, ...]
    mismatch: bool = False
    changed: str = ""


def write_markers(site: Site, effective: Effective, now: str) -> None:
    """Each file is the whole new one, or the old one. Raises what writing raises."""
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "host": site.name,
        "boot_id": site.boot_id,
        "written": now,
        **msgspec.to_builtins(effective),
    }
    replace(
        site.run / EFFECTIVE,
        msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n",
    )
    write_reboot_required(site.run, effective)
    if site.metrics is not None:
        replace(site.metrics, metrics(effective).encode())


def write_reboot_required(run: Path, effective: Effective) -> None:
    """Lines of other programs stay, and so does a marker of theirs."""
    marker, packages = run / REQUIRED, run / PACKAGES
    others = [line for line in lines(packages) if not line.startswith(_MINE)]
    reasons = effective.reasons if effective.reboot_required else ()
    wanted = [*others, *(f"{_MINE}{reason}" for reason in reasons)]
    if wanted != lines(packages):
        replace(packages, "".join(f"{line}\n" for line in wanted).encode())
    if reasons and not marker.exists():
        replace(marker, _TEXT.encode())
    if not wanted:
        with suppress(FileNotFoundError):
            packages.unlink()
        if marker.exists() and marker.read_text(errors="replace") == _TEXT:
            marker.unlink()


def lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def metrics(effective: Effective) -> str:
    """Prometheus' text format, for node_exporter's textfile collector."""
    pending = sorted(set(effective.pending))
    return "".join(
        [
            *heading("patch_state", "Live patches that are applied."),
            *(
                row(
                    "patch_state",
                    1,
                    component=one.component,
                    name=name,
                    state="applied",
                )
                for one in effective.components
                for name in one.patches
            ),
            *heading("pending_guidance", "Tasks that updates have left."),
            *(row("pending_guidance", 1, guidance=task) for task in pending),
            *heading("reboot_required", "Whether updates wait for a reboot."),
            row("reboot_required", int(effective.reboot_required)),
            *heading("livepatch_failed", "Live patches that did not go on."),
            *(row("livepatch_failed", 1, component=one) for one in effective.failed),
            *heading("updates_installed", "Updates that are on this host."),
            row("updates_installed", len(effective.updates)),
            *heading("memory_disk_mismatch", "Whether only one of them has a fix."),
            row("memory_disk_mismatch", int(effective.mismatch)),
            *heading("last_change_timestamp_seconds", "When the host was changed."),
            row("last_change_timestamp_seconds", timestamp(effective.changed)),
        ]
    )


def heading(name: str, text: str) -> Sequence[str]:
    return (
        f"# HELP lpengine_{name} {text}\n",
        f"# TYPE lpengine_{name} gauge\n",
    )


def row(metric: str, value: int, /, **labels: str) -> str:
    text = ",".join(f'{key}="{escaped(each)}"' for key, each in labels.items())
    return f"lpengine_{metric}{f'{{{text}}}' if text else ''} {value}\n"


def timestamp(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp()) if moment else 0


def escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def replace(path: Path, data: bytes) -> None:
    """What is in /run is gone after a power cut anyway, so that nothing is synced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, fresh = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), 0o644)
        Path(fresh).replace(path)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise

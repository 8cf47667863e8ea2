"""XAPI's names for what rules are asked about, beside ours: who has its records or its
metadata need not translate them."""

from collections.abc import Callable, Mapping
from typing import Any

from lpengine.package.model import KERNEL, XEN, Applicability, LivePatch, Update
from lpengine.planner.updates.case import feature_allowed
from lpengine.planner.updates.state import (
    Guest,
    HostState,
    PackageRow,
    PoolState,
    RunningComponent,
    ServerPrecheck,
)

Row = dict[str, Any]

_PENDING = {
    "pending_guidances": "mandatory",
    "pending_guidances_recommended": "recommended",
    "pending_guidances_full": "full",
}
_RESTRICTS = "restrict_"


def respelled(raw: Row, kind: Any) -> Row:
    """A table of JSON that stands for a value of that type, with our names.

    Raises ValueError where something is there in both.
    """
    spell = _SPELLINGS.get(kind)
    if spell is None:
        return raw
    row = dict(raw)
    spell(row)
    return row


def put(row: Row, name: str, value: Any) -> None:
    if name in row:
        raise ValueError(f"{name} is there in two spellings")
    row[name] = value


def rename(row: Row, old: str, new: str) -> None:
    if old in row:
        put(row, new, row.pop(old))


def group(row: Row, name: str) -> None:
    """NAME_version and NAME_release as one version."""
    parts = {
        part: row.pop(f"{name}_{part}")
        for part in ("version", "release")
        if f"{name}_{part}" in row
    }
    if parts:
        put(row, name, parts)


def component(row: Row) -> None:
    """XAPI's types begin them with a capital."""
    written = row.get("component")
    if isinstance(written, str) and written.lower() in (XEN, KERNEL):
        row["component"] = written.lower()


def livepatch(row: Row) -> None:
    component(row)
    group(row, "base")
    group(row, "to")


def running(row: Row) -> None:
    """Livepatch.t: both parts of what is reached, or neither; one is half known."""
    component(row)
    rename(row, "base_build_id", "build_id")
    if "to_version" not in row and "to_release" not in row:
        return
    reached = {part: row.pop(f"to_{part}", None) for part in ("version", "release")}
    missing = [part for part, value in reached.items() if value is None]
    put(row, "to", None if missing else reached)
    if len(missing) == 1:
        put(row, "half_known", True)


def applicability(row: Row) -> None:
    """Epoch, version and release are fields of their own."""
    rename(row, "arch", "architecture")
    if isinstance(row.get("version"), str):
        parts = ("epoch", "version", "release")
        version = {part: row.pop(part) for part in parts if part in row}
        row["version"] = version


def update(row: Row) -> None:
    rename(row, "guidance_applicabilities", "applicabilities")


def package_row(row: Row) -> None:
    rename(row, "arch", "architecture")


def pending(row: Row) -> None:
    lists = {ours: row.pop(its) for its, ours in _PENDING.items() if its in row}
    if lists:
        put(row, "pending", lists)


def host(row: Row) -> None:
    pending(row)
    flags = row.pop("license_params", None)
    if isinstance(flags, dict):
        names = (flag.removeprefix(_RESTRICTS) for flag in flags if _RESTRICTS in flag)
        put(row, "features", {name: feature_allowed(flags, name) for name in names})


def pool(row: Row) -> None:
    disabled = row.pop("live_patching_disabled", None)
    if disabled is not None:
        put(row, "live_patching", not disabled)


def precheck(row: Row) -> None:
    rename(row, "livepatch_status", "status")


_SPELLINGS: Mapping[type, Callable[[Row], None]] = {
    LivePatch: livepatch,
    RunningComponent: running,
    Applicability: applicability,
    Update: update,
    PackageRow: package_row,
    HostState: host,
    Guest: pending,
    PoolState: pool,
    ServerPrecheck: precheck,
}

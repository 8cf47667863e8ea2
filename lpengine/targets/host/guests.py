"""The guests of a host, as Xen's own tool lists them. A toolstack knows more."""

import json
import re

from lpengine.planner.updates.state import Guest, Hindrance, PowerState
from lpengine.targets.host.answers import Answers

_HEADING = re.compile(r"^Name\s+ID\s+Mem\s+VCPUs\s+State\s+Time\(s\)\s*$", re.MULTILINE)
_ROW = re.compile(
    r"(?P<name>\S.*?)\s+(?P<id>\d+)\s+\d+\s+\d+\s+(?P<state>[-a-z]{6})\s+[\d.]+.*"
)
_DOM0 = "0"
_NEVER = 1
# libxl's socket to each device model (libxl_qmp.c).
_SOCKET = re.compile(r"qmp-libxl-(\d+)")
_PAUSED, _SHUT_DOWN = 2, 3


def guests(answers: Answers, *, is_xen: bool) -> tuple[Guest, ...] | None:
    """None where the list could not be read. Without a Xen there are none, and where no
    toolstack is installed, or none has run since the boot, nobody has started any."""
    if not is_xen or answers.lacks("xl_list"):
        return ()
    listing = answers.text("xl_list")
    if listing is None and answers["xenstore"].status == _NEVER:
        return ()
    if listing is None or not _HEADING.search(listing):
        return None
    types = domain_types(answers.text("xl_domains"))
    models = set(_SOCKET.findall(answers.text("device_models") or ""))
    found = []
    for line in listing.splitlines()[1:]:
        row = _ROW.fullmatch(line.strip())
        if row is None:
            return None
        if row["id"] != _DOM0:
            found.append(guest(row, types.get(row["id"], "hvm"), row["id"] in models))
    return tuple(found)


def guest(row: re.Match[str], type: str, device_model: bool) -> Guest:
    """Where nothing manages the hosts as one there is none for it to go to."""
    state = row["state"]
    power = PowerState.PAUSED if state[_PAUSED] == "p" else PowerState.RUNNING
    if state[_SHUT_DOWN] == "s":
        power = PowerState.HALTED
    return Guest(
        row["name"],
        power,
        type,
        device_model=device_model,
        hindrance=None if power is PowerState.HALTED else Hindrance.NO_HOSTS,
    )


def domain_types(document: str | None) -> dict[str, str]:
    """From `xl list -l`; one that is missing counts as having a device model."""
    try:
        domains = json.loads(document or "[]")
        return {
            str(domain["domid"]): str(domain["config"]["c_info"]["type"]).lower()
            for domain in domains
        }
    except (ValueError, TypeError, KeyError):
        return {}

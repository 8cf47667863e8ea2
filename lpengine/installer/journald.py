"""One line a run in the system's log, with fields to search it by.

journald's own protocol takes fields (systemd: Native Journal Protocol); where there is
no journald the line goes to syslog.
"""

import socket
import syslog
from collections.abc import Mapping

from lpengine.installer.site import Site

IDENTIFIER = "lpengine"
SOCKET = "systemd/journal/socket"
NOTICE, WARNING = 5, 4


def tell(
    site: Site, message: str, fields: Mapping[str, str], *, warning: bool = False
) -> None:
    """A tree of files has a log only if somebody listens there."""
    priority = WARNING if warning else NOTICE
    entry = {
        "MESSAGE": message,
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        **{f"LPENGINE_{name.upper()}": value for name, value in fields.items()},
    }
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(encode(entry), str(site.run / SOCKET))
    except OSError:
        if site.is_own:
            syslog.openlog(IDENTIFIER)
            syslog.syslog(priority, message)


def encode(entry: Mapping[str, str]) -> bytes:
    """NAME=value lines; a value of several lines has its length before it."""
    data = b""
    for name, value in entry.items():
        raw = value.encode()
        if b"\n" in raw:
            data += name.encode() + b"\n" + len(raw).to_bytes(8, "little")
        else:
            data += name.encode() + b"="
        data += raw + b"\n"
    return data

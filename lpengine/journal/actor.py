"""Who is acting, and when."""

import os
import pwd
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

LOGIN_UID = Path("/proc/self/loginuid")
NO_LOGIN_UID = (1 << 32) - 1


def current_actor() -> str:
    """The person behind this process: who called sudo, else who logged in (the
    audit system's loginuid survives su), else the user it runs as."""
    return os.environ.get("SUDO_USER") or user_name(login_uid())


@cache
def login_uid() -> int:
    try:
        uid = int(LOGIN_UID.read_text())
    except (OSError, ValueError):
        return os.getuid()
    return os.getuid() if uid == NO_LOGIN_UID else uid


@cache
def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def now() -> str:
    """This moment as RFC 3339 in UTC, to the millisecond."""
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")

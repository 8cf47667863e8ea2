"""User and group names as numbers, by the files of the root they are for."""

import grp
import pwd
from dataclasses import dataclass
from pathlib import Path

from lpengine.targets.disk.refusals import DiskRefusal


@dataclass(frozen=True)
class Owners:
    """For `/` the system is asked (NSS), for any other root its own etc/passwd and
    etc/group: names there may have other numbers here."""

    root: Path

    def user(self, name: str) -> int:
        if name == "root":
            return 0
        if self.root == Path("/"):
            try:
                return pwd.getpwnam(name).pw_uid
            except KeyError:
                raise unknown("user", name, self.root) from None
        return self._look_up("user", "etc/passwd", name)

    def group(self, name: str) -> int:
        if name == "root":
            return 0
        if self.root == Path("/"):
            try:
                return grp.getgrnam(name).gr_gid
            except KeyError:
                raise unknown("group", name, self.root) from None
        return self._look_up("group", "etc/group", name)

    def _look_up(self, kind: str, file: str, name: str) -> int:
        try:
            lines = (self.root / file).read_text(errors="replace").splitlines()
        except OSError:
            raise unknown(kind, name, self.root) from None
        for line in lines:
            fields = line.split(":")
            if len(fields) > 2 and fields[0] == name and fields[2].isdecimal():
                return int(fields[2])
        raise unknown(kind, name, self.root)


def unknown(kind: str, name: str, root: Path) -> DiskRefusal:
    return DiskRefusal("unknown-owner", f"there is no {kind} {name} on {root}")

"""Live patch modules put into a guest and taken out by hand, and what shows them."""

from datetime import timedelta

from lpengine.hosts import lab

_SYSFS = "/sys/kernel/livepatch"
_ON = f"""
insmod $2 || exit 1
while [ "$(cat {_SYSFS}/$1/transition)" = 1 ]; do sleep 0.05; done
"""
_OFF = f"""
echo 0 > {_SYSFS}/$1/enabled || exit 1
while [ -d {_SYSFS}/$1 ]; do sleep 0.05; done
rmmod $1
"""


class Flip:
    """A module in the guest's files, to be put in and taken out."""

    def __init__(self, guest: lab.Guest, name: str, module: bytes) -> None:
        self._guest, self._name = guest, name
        self._file = f"/tmp/{name}.ko"
        guest.write(self._file, module)

    def sh(self, *argv: str) -> str:
        done = self._guest.run(argv, timeout=timedelta(minutes=2))
        assert done.status == 0, done.stdout + done.stderr
        return done.stdout.decode().strip()

    def on(self) -> None:
        self.sh("sh", "-c", _ON, "sh", self._name, self._file)

    def off(self) -> None:
        self.sh("sh", "-c", _OFF, "sh", self._name)

    def seen(self, *argv: str) -> tuple[str, str, str]:
        """What a command says before, with, and after the patch."""
        before = self.sh(*argv)
        self.on()
        try:
            patched = self.sh(*argv)
        finally:
            self.off()
        return before, patched, self.sh(*argv)

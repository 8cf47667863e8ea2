"""Carries out what is done to a host, a guest or a pool besides updating it."""

import shlex
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from lpengine.errors import LpengineError, NotFoundError, TargetError
from lpengine.hosts import Host, HostError, LocalHost
from lpengine.package.model import Task
from lpengine.planner.updates.plan import Deed, Fix
from lpengine.planner.updates.state import Role
from lpengine.pool.commands import PLAIN, XAPI, Command, Commands, Where, filled
from lpengine.pool.gather import Observed, Opener
from lpengine.targets.host.observe import read_boot_id

# Where the programs are that a login shell would find.
_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_ROOTED = ("/opt/xensource/bin", "/usr/local/sbin", "/usr/sbin", "/usr/bin", "/bin")
_POLL_SECONDS = 2.0


class NoCommand(NotFoundError):
    """Nobody has said how to do this in a pool."""


@dataclass(frozen=True)
class Hands:
    """What can be done in a pool, as it was observed. `opener` reaches a host anew:
    what was open before a boot is not worth waiting for."""

    observed: Observed
    opener: Opener
    poll: float = _POLL_SECONDS

    @property
    def commands(self) -> Commands:
        """The operator's, before those of the toolstack."""
        usual = PLAIN if self.observed.managed is None else XAPI
        return {**usual, **self.observed.config.commands}

    def can(self, action: str) -> bool:
        return action in self.commands

    def do(
        self,
        action: str,
        host: str,
        target: str = "",
        arguments: Mapping[str, str] | None = None,
    ) -> None:
        """`NoCommand` where nobody has said how, `TargetError` where it failed."""
        command = self.commands.get(action)
        if command is None:
            raise NoCommand(
                f"nobody has said how to do {action} in pool {self.pool}",
                hint=f'in pool.toml: [pools.{self.pool}.commands] {action} = "..."',
            )
        if command.line:
            line = filled(command.line, self.values(host, target, arguments or {}))
            self.run(command, action, host, line)

    def run(self, command: Command, action: str, host: str, line: str) -> None:
        there = self.where(command.on, host)
        name = host if command.on is not Where.COORDINATOR else self.coordinator
        root = "" if command.on is Where.HERE else self.root(name)
        search = ":".join([*(f"{root}{each}" for each in _ROOTED), _PATH])
        script = f"PATH={shlex.quote(search)}:$PATH\nexport PATH\n{line}"
        done = there.run(
            ["sh", "-e", "-c", script], timeout=timedelta(seconds=command.seconds)
        )
        if done.status:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            said = "; ".join(lines) or f"status {done.status}"
            raise TargetError(
                f"{host}: {action} failed: {said}",
                cause="command-failed",
                hint=f"it was: {line}",
            )

    def fix(self, fix: Fix) -> None:
        host = fix.host or self.coordinator
        self.do(fix.do, host, fix.target, fix.arguments)
        if fix.do is Deed.POWER_ON:
            self.wait_for(host, "")

    def reboot(self, host: str) -> str:
        """Reboot and wait until it answers with another boot id, which is returned."""
        before = self.boot_id(host)
        with suppress(HostError):  # it may go down under the command's feet
            self.do(Task.REBOOT_HOST, host)
        return self.wait_for(host, before)

    def wait_for(self, host: str, before: str) -> str:
        """Its boot id, once that is another one than before. `HostError` where it takes
        longer than the pool's hosts may."""
        seconds = self.observed.config.deadline
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                now = self.boot_id(host)
            except LpengineError:
                now = before
            if now != before:
                return now
            time.sleep(self.poll)
        raise HostError(
            f"{host} did not come back within {seconds:g} s of its reboot"
            if before
            else f"{host} does not answer {seconds:g} s after it was switched on",
            hint="look at its console; the same command goes on once it is up",
        )

    def boot_id(self, host: str) -> str:
        config = self.observed.config.host(host)
        return read_boot_id(self.opener(config.address), config.place)

    def where(self, where: Where, host: str) -> Host:
        if where is Where.HERE:
            return LocalHost()
        name = self.coordinator if where is Where.COORDINATOR else host
        open_already = self.observed.hosts.get(name)
        return open_already or self.opener(self.observed.config.host(name).address)

    @property
    def pool(self) -> str:
        return self.observed.config.name

    @property
    def coordinator(self) -> str:
        hosts = self.observed.state.hosts
        return next((h.name for h in hosts if h.role is not Role.MEMBER), hosts[0].name)

    def root(self, host: str) -> str:
        return self.observed.config.host(host).root

    def values(
        self, host: str, target: str, arguments: Mapping[str, str]
    ) -> dict[str, str]:
        """What the placeholders stand for. A toolstack's own names where it has any."""
        config, managed = self.observed.config.host(host), self.observed.managed
        return {
            "pool": self.pool,
            "pool_id": managed.uuid if managed else self.pool,
            "host": host,
            "host_id": self.host_id(host),
            "guest": target,
            "guest_id": managed.guests.get(target, target) if managed else target,
            "address": config.address,
            "root": config.root,
            "target": target,
            "heartbeat_storage": ",".join(self.observed.state.ha_storage),
            "failures_to_tolerate": str(self.observed.state.ha_failures_to_tolerate),
            **arguments,
        }

    def host_id(self, host: str) -> str:
        """What the toolstack calls it; one that was not seen may be known by name."""
        seen, managed = self.observed.seen.get(host), self.observed.managed
        if seen is not None and seen.uuid:
            return seen.uuid
        known = managed.hosts if managed else ()
        return next((one.uuid for one in known if one.name == host), host)

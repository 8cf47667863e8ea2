"""Pools of hosts that are directories, updates for them, and whoever installs these:
everything but real machines."""

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lpengine.errors import LpengineError
from lpengine.hosts import Host, HostError, LocalHost
from lpengine.package.model import Content, DiskFile, Level, LivePatch, Update, Version
from lpengine.planner.updates.decide import decide
from lpengine.planner.updates.plan import FleetPlan, HostPlan
from lpengine.planner.updates.state import DEFAULT_POLICY, Mode, UpdatePolicy
from lpengine.pool.abandon import abandon
from lpengine.pool.config import Fleet, HostConfig, parse_fleet
from lpengine.pool.context import Context
from lpengine.pool.gather import Observed, gather
from lpengine.pool.installing import Installed
from lpengine.pool.outcome import Event, FleetOutcome, Notify
from lpengine.pool.record import unfinished
from lpengine.pool.rollout import record_for, roll_out
from tests import host_tree
from tests.host_tree import HEADING, XEN_BUILD_ID

BASE, FIXED = Version("4.17.5", "8"), Version("4.17.5", "9")
LIVEPATCH = "lp_4.17.5-8-4.17.5-9"
OTHER_BUILD_ID, NEW_BUILD_ID = "22" * 20, "33" * 20


def update(
    id: str = "U1",
    *,
    livepatches: Sequence[str] = (XEN_BUILD_ID,),
    components: Sequence[str] = ("xen",),
    guidance: Mapping[Level, tuple[str, ...]] | None = None,
    size: int = 4096,
    to: Version = FIXED,
    cves: Sequence[str] = (),
) -> Update:
    """Fixes Xen: live patches for these builds, else a reboot."""
    usual = {Level.RECOMMENDED: ("reboot_host",)}
    content = Content("files/0", "0" * 64, size)
    return Update(
        id,
        components=tuple(components),
        livepatches=tuple(LivePatch("xen", b, BASE, to) for b in livepatches),
        files=(DiskFile("/boot/xen.gz", 0o644, "root", "root", content),),
        guidance=usual if guidance is None else guidance,
        installation_size=size,
        cves=tuple(cves),
    )


@dataclass
class Site:
    """A fleet below one directory. `deaf` hosts do not answer; `refusing` ones take
    the files and not the live patch; `failing` ones fail to install."""

    directory: Path
    text: str = ""
    deaf: set[str] = field(default_factory=set)
    refusing: set[str] = field(default_factory=set)
    failing: dict[str, LpengineError] = field(default_factory=dict)
    installed: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def log(self, host: str) -> list[str]:
        """What was done to a host by commands."""
        path = self.root(host) / "log"
        return path.read_text().split() if path.exists() else []

    def root(self, host: str) -> Path:
        return self.directory / host

    def pool(self, name: str, hosts: Sequence[str], *settings: str) -> None:
        """Xen hosts that reboot by a script."""
        lines = "\n".join(settings)
        self.text += f"[pools.{name}]\n{lines}\n[pools.{name}.commands]\n"
        for action in ("reboot_host", "restart_toolstack"):
            line = f"sh {self.directory}/{action} {{root}}"
            self.text += f'{action} = "{line}"\n'
        self.text += f"[pools.{name}.hosts]\n"
        for host in hosts:
            host_tree.xen(self.root(host))
            self.text += f'{host} = {{address = "ssh://{host}", '
            self.text += f'root = "{self.root(host)}"}}\n'

    def write(self) -> Path:
        """pool.toml as the command line finds it: the hosts are on this machine."""
        path = self.directory / "pool.toml"
        assert self.fleet
        path.write_text(re.sub(r"ssh://[a-z0-9]+", "local", self.text))
        return path

    @property
    def fleet(self) -> Fleet:
        (self.directory / "reboot_host").write_text(REBOOT)
        (self.directory / "restart_toolstack").write_text(RESTART)
        return parse_fleet(self.text.encode(), self.directory / "pool.toml")

    def fleet_command(self, host: str, action: str) -> None:
        """What the pool's command does, done by somebody else."""
        script = str(self.directory / action)
        LocalHost().run(["sh", script, str(self.root(host))])

    def open(self, uri: str) -> Host:
        name = uri.removeprefix("ssh://")
        if name in self.deaf and not (self.directory / f"{name}.on").exists():
            raise HostError(f"cannot reach {uri}: No route to host")
        return host_tree.Outside()

    def gather(self, updates: Sequence[Update] = ()) -> tuple[Observed, ...]:
        ids = [one.id for one in updates]
        return gather(self.fleet.pools, ids, opener=self.open)

    def plan(
        self, updates: Sequence[Update], policy: UpdatePolicy = DEFAULT_POLICY
    ) -> tuple[tuple[Observed, ...], FleetPlan]:
        observed = self.gather(updates)
        return observed, decide(updates, [one.state for one in observed], policy)

    def install(
        self,
        host: Host,
        config: HostConfig,
        bundles: Sequence[Path],
        plan: HostPlan,
        policy: UpdatePolicy,
    ) -> Installed:
        """What `lpengine install` does to a host, as far as it shows."""
        if config.name in self.failing:
            raise self.failing[config.name]
        self.installed.append(config.name)
        root = Path(config.root)
        for id in plan.install:
            host_tree.write(root, f"/var/update/applied/{id}", "")
        if config.name in self.refusing:
            return Installed((("xen", "Xen says EINVAL"),))
        names = "".join(
            f"lp_{one.base}-{one.to}| APPLIED    | \n" for one in plan.apply
        )
        if names:
            listing = {"list": HEADING + names}
            host_tree.printing(root, "/usr/sbin/xen-livepatch", listing)
        return Installed()

    def run(
        self,
        updates: Sequence[Update],
        *,
        mode: Mode = Mode.AUTOMATIC,
        resolve: bool = False,
        put_away: Sequence[str] = (),
        cancelled: threading.Event | None = None,
        notify: Notify | None = None,
    ) -> FleetOutcome:
        policy = UpdatePolicy(mode=mode)
        observed, plan = self.plan(updates, policy)
        return self.carry_out(
            updates, observed, plan, policy, resolve, cancelled, notify, put_away
        )

    def carry_out(
        self,
        updates: Sequence[Update],
        observed: tuple[Observed, ...],
        plan: FleetPlan,
        policy: UpdatePolicy = DEFAULT_POLICY,
        resolve: bool = False,
        cancelled: threading.Event | None = None,
        notify: Notify | None = None,
        put_away: Sequence[str] = (),
    ) -> FleetOutcome:
        names = [pool.pool for pool in plan.pools]
        digests = [one.id for one in updates]
        context = Context(
            tuple(updates),
            (),
            dict.fromkeys(names, policy),
            record_for(self.directory / "runs", digests, names),
            notify or self.events.append,
            self.open,
            self.install,
            poll=0.01,
            by_engine=False,
            cancelled=cancelled or threading.Event(),
        )
        return roll_out(context, observed, plan, resolve=resolve, put_away=put_away)

    def abandon(self) -> FleetOutcome:
        (record,) = unfinished(self.directory / "runs")
        context = Context(
            (), (), {}, record, self.events.append, self.open, self.install, poll=0.01
        )
        return abandon(context, self.gather())


# A new boot id, no live patch, and the Xen that the disk has.
REBOOT = f"""\
echo reboot >>"$1/log"
if [ -e "$1/lost" ]; then exit 0; fi
if [ -d "$1/var/update/applied" ]; then
	sed -i 's/^build_id .*/build_id : {NEW_BUILD_ID}/' "$1/usr/sbin/xl"
fi
printf '#!/bin/sh\\necho Nothing to list\\n' >"$1/usr/sbin/xen-livepatch"
id="$1/proc/sys/kernel/random/boot_id"
tr 0-9a-f 1-9a-f0 <"$id" >"$1/boot_id" && mv "$1/boot_id" "$id"
"""
RESTART = 'echo toolstack >>"$1/log"\n'

"""The verbs on this host as a whole: its disk and everything that runs on it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lpengine.errors import UsageError
from lpengine.installer import boot as booting
from lpengine.installer import install as installing
from lpengine.installer import status as looking
from lpengine.installer import uninstall as uninstalling
from lpengine.installer.prepare import prepare
from lpengine.installer.request import (
    DEFAULT_REQUEST,
    HostOutcome,
    Installation,
    Prepared,
    Request,
)
from lpengine.installer.run import Notify, silent
from lpengine.installer.site import ROOT, Site, open_site
from lpengine.installer.status import HostStatus
from lpengine.journal.host import HostJournal
from lpengine.journal.host_entries import HostEntry
from lpengine.package import open_update
from lpengine.package.bundle import Bundle
from lpengine.package.model import Task
from lpengine.package.signers import trusted_signers

__all__ = [
    "HERE",
    "Here",
    "Trust",
    "boot",
    "boot_unit",
    "clear",
    "history",
    "install",
    "install_boot_unit",
    "plan_install",
    "recover",
    "status",
    "uninstall",
]


@dataclass(frozen=True)
class Here:
    """Which host: this machine, or a tree of files that stands for one. `config` is
    in the place of etc/lpengine/host.toml below the root; `components` names targets
    of components beyond what it says."""

    root: Path = ROOT
    config: Path | None = None
    components: Mapping[str, str] = field(default_factory=dict)

    @property
    def site(self) -> Site:
        return open_site(self.root, self.config, self.components)


@dataclass(frozen=True)
class Trust:
    """Who may sign updates; None for the files that this machine has for that."""

    signers: Path | None = None
    revoked: Path | None = None
    identity: str = ""


HERE = Here()
TRUST = Trust()


def plan_install(
    bundles: Sequence[str | Path],
    here: Here = HERE,
    request: Request = DEFAULT_REQUEST,
    trust: Trust = TRUST,
) -> Prepared:
    """What installing these updates would do. Changes nothing."""
    site = here.site
    with opened(bundles, trust) as (found, signers), HostJournal(site.state) as journal:
        return prepare(site, journal, found, request, signers)


def install(
    bundles: Sequence[str | Path],
    here: Here = HERE,
    request: Request = DEFAULT_REQUEST,
    trust: Trust = TRUST,
    *,
    notify: Notify = silent,
) -> Installation:
    """The updates onto the disk, then into memory; see `Installation`."""
    with opened(bundles, trust) as (found, signers):
        return installing.install(
            here.site, found, request, signers=signers, notify=notify
        )


def uninstall(
    update: str,
    here: Here = HERE,
    request: Request = DEFAULT_REQUEST,
    *,
    keep_changed: bool = False,
    notify: Notify = silent,
) -> HostOutcome:
    """The update's files back to what was there before, and its live patch off."""
    return uninstalling.uninstall(
        here.site, update, request, keep_changed=keep_changed, notify=notify
    )


def boot(
    here: Here = HERE, *, retry_crashed: bool = False, notify: Notify = silent
) -> Installation:
    """What the boot unit does."""
    return booting.boot(here.site, retry_crashed=retry_crashed, notify=notify)


def boot_unit() -> str:
    """The systemd unit that runs `lpengine boot`."""
    return booting.unit()


def install_boot_unit(here: Here = HERE) -> Path:
    """Put it where systemd finds it, enabled; where it is then."""
    return booting.install_unit(here.site)


def recover(here: Here = HERE, *, notify: Notify = silent) -> Installation | None:
    """End what was broken off on the disk, and catch up with memory; None where
    nothing was."""
    site = here.site
    if not looking.is_broken_off(site):
        return None
    return booting.catch_up(site, "recover", notify=notify)


def status(here: Here = HERE) -> HostStatus:
    return looking.status(here.site)


def history(here: Here = HERE, limit: int = 50) -> tuple[HostEntry, ...]:
    """The runs on this host, newest first."""
    with HostJournal(here.site.state) as journal:
        return journal.entries(limit)


def clear(tasks: Sequence[Task], here: Here = HERE) -> HostStatus:
    """Somebody has carried these tasks out."""
    site = here.site
    with HostJournal(site.state) as journal, journal.lock("clear"):
        for task in tasks:
            journal.clear(task)
    found = looking.status(site)
    booting.told(site, found.observed)
    return found


@contextmanager
def opened(
    bundles: Sequence[str | Path], trust: Trust
) -> Iterator[tuple[list[Bundle], dict[str, str]]]:
    """The bundles, each wholly read and found to be signed by somebody who is
    trusted, and who that is by the update's id."""
    if not bundles:
        raise UsageError("no update was given")
    trusted = trusted_signers(trust.signers, trust.revoked)
    with ExitStack() as stack:
        found: dict[str, Bundle] = {}
        signers = {}
        for path in bundles:
            bundle = stack.enter_context(open_update(path))
            signer = bundle.verify(trusted, datetime.now(UTC), trust.identity)
            bundle.check_contents()
            if bundle.update.id in found:
                raise UsageError(f"{bundle.update.id} was given twice")
            found[bundle.update.id] = bundle
            signers[bundle.update.id] = signer.principals
        yield list(found.values()), signers

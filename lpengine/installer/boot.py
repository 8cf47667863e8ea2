"""After a boot, and whenever somebody asks: memory brought to where the updates on
this host say it should be.

Live patches do not outlive a boot. Where the boot started the fixed files there is
nothing to be done; where it started the old build once more, that build's live patches
go on again. One over which the host went down is left off, and said.
"""

import shutil
import sys
from importlib.resources import files
from pathlib import Path

from lpengine import command
from lpengine.engine.interruptions import interruptions_held
from lpengine.errors import NotFoundError
from lpengine.installer.aftermath import Ending, conclude, refresh_markers
from lpengine.installer.install import patch
from lpengine.installer.intent import Intent
from lpengine.installer.markers import replace as replace_file
from lpengine.installer.observe import Observed, observe
from lpengine.installer.prepare import decided, remaining
from lpengine.installer.recover import recover
from lpengine.installer.request import (
    HostOutcome,
    Installation,
    Prepared,
    Request,
)
from lpengine.installer.run import HostRun, Notify, silent
from lpengine.installer.site import Site
from lpengine.journal.host import HostJournal
from lpengine.planner.updates.plan import HostPlan
from lpengine.planner.updates.state import LivePatching

SWITCH = "lpengine.enable"
UNIT = "lpengine-boot.service"


def boot(
    site: Site, *, retry_crashed: bool = False, notify: Notify = silent
) -> Installation:
    """What the boot unit runs: what a power cut broke off is ended, what a boot does
    is no longer left to do, and live patches go on again, unless the kernel's command
    line has lpengine.enable=0."""
    return catch_up(
        site, "boot", retry_crashed=retry_crashed, live=enabled(site), notify=notify
    )


def catch_up(
    site: Site,
    verb: str,
    *,
    retry_crashed: bool = False,
    live: bool = True,
    notify: Notify = silent,
) -> Installation:
    with HostJournal(site.state) as journal, journal.lock(verb):
        recovered = recover(site, journal, notify)
        if journal.exists:
            journal.clear_earlier_boots(site.boot_id)
        # Whoever may not change the host now may not leave it vulnerable either.
        off = None if live else LivePatching.DISABLED
        request = Request(retry_crashed=retry_crashed, any_time=True, live_patching=off)
        observed = observe(site, journal)
        plan = decided(observed.updates, observed, request)
        prepared = Prepared(observed, observed.updates, plan)
        outcome = apply_due(site, journal, verb, observed, plan, request, notify)
        return Installation(prepared, outcome, recovered)


def apply_due(
    site: Site,
    journal: HostJournal,
    verb: str,
    observed: Observed,
    plan: HostPlan,
    request: Request,
    notify: Notify,
) -> HostOutcome:
    """Nothing is written down where nothing is to be applied."""
    if not plan.apply:
        warnings = told(site, observed)
        tasks = remaining(observed.updates, observed).after
        return HostOutcome("nothing", tasks=tasks, warnings=warnings)
    boot_id = site.boot_id
    with interruptions_held():
        id = journal.begin_run(
            verb, [], boot_id, plan=Intent(plan=plan).to_json(), settled=True
        )
        run = HostRun(site, journal, id, boot_id, notify)
        found = [patch(run, livepatch) for livepatch in plan.apply]
        failed = tuple(failure for failure in found if failure is not None)
        about = {
            "action": verb,
            "updates": [],
            "apply": [one.component for one in plan.apply],
        }
        return conclude(run, Ending(about, failed, planned=plan.apply), request)


def told(site: Site, observed: Observed) -> tuple[str, ...]:
    try:
        refresh_markers(site, observed)
    except OSError as error:
        return (f"{error.filename}: {error.strerror}",)
    return ()


def enabled(site: Site) -> bool:
    """The last word on the kernel's command line counts."""
    try:
        words = (site.root / "proc/cmdline").read_text().split()
    except OSError:
        return True
    said = [word for word in words if word.startswith(f"{SWITCH}=")]
    return not said or said[-1] != f"{SWITCH}=0"


def unit() -> str:
    """The systemd unit that does this at boot, with this program in it."""
    text = files("lpengine.installer").joinpath(UNIT).read_text()
    return text.replace("@LPENGINE@", program())


def install_unit(site: Site) -> Path:
    """As `systemctl enable` would: the unit, and a link from the target that wants it.
    The running systemd is told, if there is one."""
    directory = site.root / "etc/systemd/system"
    path, wants = directory / UNIT, directory / "multi-user.target.wants"
    replace_file(path, unit().encode())
    wants.mkdir(parents=True, exist_ok=True)
    link = wants / UNIT
    if not link.is_symlink():
        link.symlink_to(f"/etc/systemd/system/{UNIT}")
    if site.is_own and Path("/run/systemd/system").is_dir():
        command.run(["systemctl", "daemon-reload"])
    return path


def program() -> str:
    """The lpengine that belongs to the Python that runs this: a unit has no PATH to
    look it up in that anybody knows."""
    beside = Path(sys.executable).with_name("lpengine")
    found = str(beside) if beside.exists() else shutil.which("lpengine")
    if found is None:
        raise NotFoundError("there is no program lpengine", hint="install lpengine")
    return found

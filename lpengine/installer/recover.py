"""What a crash has left half done on this host is ended before anything else begins."""

from collections.abc import Iterator

from lpengine.errors import StuckError
from lpengine.installer import disk_half
from lpengine.installer.intent import Intent
from lpengine.installer.reverting import revert_all
from lpengine.installer.run import HostRun, Notify, silent
from lpengine.installer.site import Site
from lpengine.journal import RunStatus
from lpengine.journal.host import HostJournal
from lpengine.journal.host_entries import HostEntry, KeptUpdate
from lpengine.package.manifest_reader import read_manifest


def recover(
    site: Site, journal: HostJournal, notify: Notify = silent
) -> tuple[str, ...]:
    """Files are wholly the old or the new ones afterwards, packages too where that can
    be, and the journal says which. Returns what was done, one sentence each. Raises
    `StuckError` where something is left; killed itself, the next call carries on."""
    told = list(settle_disk(site))
    entry = journal.open_run()
    if entry is not None:
        told.append(Closing(site, journal, entry, notify).close())
    if journal.exists:
        # A process has died over them, and the host has not.
        journal.forget_trials(site.boot_id)
    return tuple(told)


def settle_disk(site: Site) -> Iterator[str]:
    files = site.disk.recover()
    if files is not None:
        end = "finished" if files.done else "taken back"
        change = files.transaction
        yield f"{change.purpose} of the files of {change.update}: {end}"
        yield from files.left
    packages = site.packages.recover()
    if packages is not None:
        end = "finished" if packages.done else "taken back"
        deed = "removal" if packages.packages.leaving else "installation"
        yield f"{deed} of the packages of {packages.packages.update}: {end}"


class Closing:
    """The run that a dead process has left open."""

    def __init__(
        self, site: Site, journal: HostJournal, entry: HostEntry, notify: Notify
    ) -> None:
        self.site = site
        self.journal = journal
        self.entry = entry
        self.run = HostRun(site, journal, entry.id, site.boot_id, notify)
        self.intent = Intent.from_json(entry.plan, f"{journal.path}: run {entry.id}")
        self.error = entry.error or f"{entry.verb} was interrupted (pid {entry.pid})"

    def close(self) -> str:
        if self.entry.settled:
            return self._finish()
        if self.entry.verb == "uninstall":
            return self._uninstall()
        return self._install()

    def _install(self) -> str:
        coming = self.journal.coming(self.entry.id)
        forward = self.entry.status is RunStatus.RUNNING and coming
        if forward and all(self._is_whole(one) for one in coming if one.on_disk):
            pending = self.intent.pending if any(c.on_disk for c in coming) else ()
            self.journal.settle(self.entry.id, self.site.boot_id, pending)
            return self._end(RunStatus.DONE)
        ids = [one.id for one in coming if one.on_disk]
        self.journal.begin_undoing(self.entry.id, self.error)
        self._must_be_done(disk_half.take_back(self.run, ids, ()))
        return self._end(RunStatus.RECOVERED)

    def _uninstall(self) -> str:
        """Back where nothing has gone yet, else forward: what a package manager or a
        backup gave back is not there any more to be taken away again."""
        updates = self.entry.updates
        kept = [one for one in self.journal.updates() if one.id in updates]
        if kept and all(self._is_whole(one) for one in kept):
            return self._end(RunStatus.RECOVERED)
        for update in updates:
            disk_half.take_off(self.run, update, keep_changed=self.intent.keep_changed)
        self.journal.settle(
            self.entry.id,
            self.site.boot_id,
            self.intent.pending,
            gone=updates,
            obsolete=self.intent.obsolete,
            forgiven=self.intent.forgiven,
        )
        return self._finish()

    def _finish(self) -> str:
        """What was to come off in memory is nobody's any more: nobody else will."""
        failed = revert_all(self.run, self.intent.reverts)
        left = "".join(f"; {one.name} stays on: {one.error}" for one in failed)
        return self._end(RunStatus.DONE) + left

    def _is_whole(self, kept: KeptUpdate) -> bool:
        update, _ = read_manifest(kept.manifest, kept.id)
        return disk_half.is_whole(
            self.site,
            kept.id,
            files=bool(update.files),
            packages=bool(update.packages),
        )

    def _must_be_done(self, left: list[str]) -> None:
        if left:
            raise StuckError(
                f"run {self.entry.id} broke off and cannot be taken back: {self.error}",
                left=left,
                hint="put right what is left, then: lpengine recover",
            )

    def _end(self, status: RunStatus) -> str:
        self.journal.end_run(self.entry.id, status, self.error)
        how = "its disk half is done" if status is RunStatus.DONE else "it was undone"
        return f"run {self.entry.id} ({self.entry.verb}) had broken off: {how}"

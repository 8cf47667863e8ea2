"""Updates put onto this host: disk first, then memory, then looked at again."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from lpengine.engine.interruptions import interruptions_held
from lpengine.engine.run import line
from lpengine.errors import (
    NotFoundError,
    RefusedError,
    StalePlanError,
    StuckError,
)
from lpengine.installer import disk_half
from lpengine.installer.aftermath import (
    Ending,
    about,
    conclude,
    nothing,
    rolled_back,
)
from lpengine.installer.hooks import Event, HookRun, run_hooks, vetoed
from lpengine.installer.intent import Intent, guidance_of
from lpengine.installer.memory import put_on
from lpengine.installer.modules import kept_modules, module_bytes, name_of
from lpengine.installer.prepare import prepare
from lpengine.installer.recover import recover
from lpengine.installer.request import (
    HostOutcome,
    Installation,
    PatchFailure,
    Prepared,
    Request,
)
from lpengine.installer.run import HostRun, Notify, silent
from lpengine.installer.site import Site
from lpengine.journal import RunStatus
from lpengine.journal.host import HostJournal
from lpengine.journal.host_entries import Coming
from lpengine.package.bundle import Bundle
from lpengine.package.model import LivePatch
from lpengine.planner.plan import Verdict


def install(
    site: Site,
    bundles: Sequence[Bundle],
    request: Request,
    *,
    signers: Mapping[str, str],
    notify: Notify = silent,
) -> Installation:
    """`signers` has who signed each update, by its id. Raises `StalePlanError` where
    the plan is not the one that was expected, `RefusedError` where a hook vetoes it,
    and what `recover` raises; then nothing was changed."""
    with HostJournal(site.state) as journal, journal.lock("install"):
        recovered = recover(site, journal, notify)
        asked = ask_hooks(site, journal, [bundle.update.id for bundle in bundles])
        prepared = prepare(site, journal, bundles, request, signers)
        if request.expect and request.expect != prepared.id:
            raise StalePlanError(
                f"the plan is {prepared.id} now, not {request.expect}",
                hint="plan again",
            )
        if prepared.verdict is Verdict.REFUSED:
            return Installation(prepared, None, recovered)
        work = Work(site, journal, prepared, bundles, request, signers, notify, asked)
        return Installation(prepared, work.carry_out(), recovered)


def ask_hooks(
    site: Site, journal: HostJournal, updates: Sequence[str]
) -> list[HookRun]:
    """Whether anything is to be planned at all. A veto is kept as a run of its own."""
    asked = run_hooks(
        site, Event.PRE_PLAN, {"action": "install", "updates": list(updates)}
    )
    refusal = vetoed(asked)
    if refusal is not None:
        id = journal.begin_run("install", updates, site.boot_id)
        with suppress(RefusedError):
            HostRun(site, journal, id, site.boot_id).record(asked)
        journal.end_run(id, RunStatus.ROLLED_BACK, refusal.message)
        raise refusal
    return asked


class Work:
    """One plan being carried out, after the hooks in `asked` were."""

    def __init__(
        self,
        site: Site,
        journal: HostJournal,
        prepared: Prepared,
        bundles: Sequence[Bundle],
        request: Request,
        signers: Mapping[str, str],
        notify: Notify,
        asked: Sequence[HookRun] = (),
    ) -> None:
        self.asked = asked
        self.site = site
        self.journal = journal
        self.prepared = prepared
        self.plan = prepared.plan
        self.bundles = {bundle.update.id: bundle for bundle in bundles}
        self.request = request
        self.signers = signers
        self.notify = notify
        self.present = disk_half.on_disk(site)
        self.wanted = [
            self.bundles[one] for one in prepared.install if one in self.bundles
        ]
        # Guidance is for what comes onto the disk.
        self.pending = tuple(guidance_of(self.plan)) if self.wanted else ()

    def carry_out(self) -> HostOutcome:
        if self.prepared.verdict is Verdict.NOTHING:
            return nothing(self.site, self.prepared)
        run = self._begin()
        try:
            run.record(self.asked)
            run.hooks(Event.PRE_APPLY, about(self.prepared))
            for bundle in self.wanted:
                disk_half.put_on(run, bundle)
        except BaseException as cause:
            return self._back_out(run, cause)
        with interruptions_held():
            # From here on it only goes forward.
            self.journal.settle(run.id, run.boot_id, self.pending)
            failed = self._patch(run)
            return conclude(run, self._ending(failed), self.request)

    def _begin(self) -> HostRun:
        boot_id = self.site.boot_id
        id = self.journal.begin_run(
            "install",
            list(self.bundles),
            boot_id,
            plan=Intent(self.pending, plan=self.plan).to_json(),
            updates_digest=self.plan.updates_digest,
            state_digest=self.plan.state_digest,
            coming=self._coming(),
        )
        return HostRun(self.site, self.journal, id, boot_id, self.notify)

    def _coming(self) -> Iterator[Coming]:
        """Those that are not here yet, or not with their files."""
        here = {one.id: one for one in self.prepared.observed.kept}
        for id, bundle in self.bundles.items():
            if id in self.plan.install and (self.request.disk or id not in here):
                yield Coming(
                    id,
                    bundle.digest,
                    bundle.manifest,
                    self.signers.get(id, ""),
                    self.request.disk,
                    kept_modules(bundle),
                )

    def _patch(self, run: HostRun) -> tuple[PatchFailure, ...]:
        found = (
            patch(run, livepatch, self.bundles.values())
            for livepatch in self.plan.apply
        )
        return tuple(failure for failure in found if failure is not None)

    def _ending(self, failed: tuple[PatchFailure, ...]) -> Ending:
        return Ending(
            about(self.prepared),
            failed,
            planned=self.plan.apply,
            due=self.plan.needs_reboot,
            disk_missing=bool(self.plan.install) and not self.request.disk,
        )

    def _back_out(self, run: HostRun, cause: BaseException) -> HostOutcome:
        error = line(cause)
        with interruptions_held():
            self.journal.begin_undoing(run.id, error)
            ids = [bundle.update.id for bundle in self.wanted]
            left = disk_half.take_back(run, ids, self.present)
            if isinstance(cause, StuckError):
                left = [*cause.left, *left]
            if left:
                raise StuckError(
                    f"run {run.id} failed and could not be taken back: {error}",
                    left=left,
                    hint="put right what is left, then: lpengine recover",
                ) from cause
            self.journal.end_run(run.id, RunStatus.ROLLED_BACK, error)
            return rolled_back(run, error, cause)


def patch(
    run: HostRun, livepatch: LivePatch, bundles: Iterable[Bundle] = ()
) -> PatchFailure | None:
    """One live patch onto its component."""

    def act() -> str:
        uri = run.site.targets.get(livepatch.component)
        if uri is None:
            raise NotFoundError(
                f"no target is known for {livepatch.component}",
                hint="name it under [components] in host.toml",
            )
        raw = module_bytes(run.site, run.journal, livepatch, bundles)
        return put_on(uri, livepatch, raw)

    return run.try_patch(livepatch, name_of(livepatch), act)

"""A run on this host under way: every step is in its journal before it acts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import msgspec

from lpengine.engine.interruptions import interruptions_held
from lpengine.engine.run import line
from lpengine.errors import LpengineError, RefusedError
from lpengine.installer.hooks import Event, HookRun, run_hooks, vetoed
from lpengine.installer.request import PatchFailure
from lpengine.installer.site import Site
from lpengine.journal import StepState
from lpengine.journal.host import HostJournal
from lpengine.journal.host_entries import Deed, HostStep, Trial
from lpengine.package.model import LivePatch

T = TypeVar("T")


@dataclass(frozen=True)
class StepBegun:
    """The step is in the journal and acts now."""

    step: HostStep


@dataclass(frozen=True)
class StepEnded:
    """`error` is "" where it did what it should."""

    step: HostStep
    error: str = ""


Notify = Callable[[StepBegun | StepEnded], None]


def silent(_: StepBegun | StepEnded) -> None:
    pass


@dataclass
class HostRun:
    """`warnings` collects what went wrong beside, and is no reason to stop."""

    site: Site
    journal: HostJournal
    id: int
    boot_id: str
    notify: Notify = silent
    warnings: list[str] = field(default_factory=list)

    def take(
        self, step: HostStep, action: Callable[[], T], *, undoing: bool = False
    ) -> T:
        """Raises what stopped it. Interruptions arrive when it has ended."""
        with interruptions_held():
            index = self.journal.begin_step(self.id, step, undoing=undoing)
            self.notify(StepBegun(step))
            try:
                result = action()
            except BaseException as error:
                self.journal.end_step(self.id, index, StepState.FAILED, line(error))
                self.notify(StepEnded(step, line(error)))
                raise
            self.journal.end_step(self.id, index, StepState.DONE)
            self.notify(StepEnded(step))
            return result

    def try_patch(
        self, livepatch: LivePatch, name: str, put_on: Callable[[], str]
    ) -> PatchFailure | None:
        """One live patch, marked before and after: if the host goes down over it, the
        mark is what is left of that. A failure, one to make the mark included, is
        remembered, and no reason to stop. `put_on` returns the name that it has."""
        component = livepatch.component
        to = msgspec.json.encode(livepatch.to).decode()
        trial = Trial(component, name, to, self.boot_id, "", self.id)
        step = HostStep(Deed.LIVE_PATCH, component, name, livepatch.base_build_id)
        try:
            self.journal.begin_trial(trial)
            called = self.take(step, put_on)
        except Exception as error:
            reason = line(error)
            self.beside(lambda: self.journal.end_trial(trial, reason))
            codes = error.codes if isinstance(error, RefusedError) else ()
            return PatchFailure(component, name, reason, codes)
        self.beside(lambda: self.journal.end_trial(replace(trial, name=called)))
        return None

    def hooks(self, event: Event, about: dict[str, object]) -> None:
        """Runs those of an event; raises where one vetoes it."""
        self.record(run_hooks(self.site, event, about))

    def record(self, hooks: Sequence[HookRun]) -> None:
        """Hooks that were run, by name. Raises where one has vetoed it."""
        for hook in hooks:
            step = HostStep(Deed.HOOK, hook.name)
            index = self.journal.begin_step(self.id, step)
            state = StepState.FAILED if hook.error else StepState.DONE
            self.journal.end_step(self.id, index, state, hook.error)
            if hook.error and not hook.event.vetoes:
                self.warnings.append(f"hook {hook.name}: {hook.error}")
        refusal = vetoed(hooks)
        if refusal is not None:
            raise refusal

    def beside(self, action: Callable[[], object]) -> None:
        """Something without which the run is good all the same."""
        try:
            action()
        except (LpengineError, OSError) as error:
            self.warnings.append(line(error))

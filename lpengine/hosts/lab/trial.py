"""A module's trial by the real thing: apply (which plans first), check, revert and
unload in a guest, by lpengine itself, which runs in there."""

import json
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from lpengine.hosts.base import HostError
from lpengine.hosts.lab.guest import Guest

TARGETS = {"xen": "xen", "linux": "linux"}
_STEP_TIMEOUT = timedelta(minutes=5)


@dataclass(frozen=True)
class TrialStep:
    """`what` is apply, revert, unload, or a check and when it was made;
    `said` is its document (a verb's) or what it printed (a check's)."""

    what: str
    status: int
    seconds: float
    said: object


@dataclass(frozen=True)
class Comparison:
    """What one check printed, and its status, before, with and after the patch."""

    command: str
    before: tuple[int, str]
    patched: tuple[int, str]
    reverted: tuple[int, str]

    @property
    def restored(self) -> bool:
        return self.before == self.reverted


@dataclass(frozen=True)
class Trial:
    """`verdict` is passed; refused: by the plan; failed: a verb did not succeed;
    not-restored: a check says otherwise after the revert than before; died: the
    machine did not survive. `reason` says more; `console` is what the hypervisor or
    kernel wrote while the module was tried."""

    verdict: str
    reason: str
    steps: tuple[TrialStep, ...] = ()
    comparisons: tuple[Comparison, ...] = field(default=())
    console: str = ""


class _Ended(Exception):
    """The trial is over before its end."""

    def __init__(self, verdict: str, reason: str) -> None:
        self.verdict = verdict
        self.reason = reason


class _Script:
    """One trial under way."""

    def __init__(self, guest: Guest, module: bytes, name: str, checks: Sequence[str]):
        self._guest = guest
        self._checks = checks
        self._target = TARGETS[guest.kind]
        self._name = Path(name).stem
        self._module = f"/tmp/lpengine-trial/{name}"
        self.steps: list[TrialStep] = []
        self.comparisons: tuple[Comparison, ...] = ()
        guest.run(["mkdir", "-p", "/tmp/lpengine-trial"])
        guest.write(self._module, module)

    def play(self) -> None:
        before = self._check_all("before")
        self._verb("apply", self._module)
        patched = self._check_all("patched")
        self._verb("revert", self._name)
        self._verb("unload", self._name)
        reverted = self._check_all("reverted")
        rows = zip(self._checks, before, patched, reverted, strict=True)
        self.comparisons = tuple(Comparison(*row) for row in rows)
        for comparison in self.comparisons:
            if not comparison.restored:
                said = f"{comparison.command}: not as before after the revert"
                raise _Ended("not-restored", said)

    def _check_all(self, when: str) -> list[tuple[int, str]]:
        return [self._check(each, when) for each in self._checks]

    def _check(self, line: str, when: str) -> tuple[int, str]:
        status, output = self._timed(f"{when}: {line}", shlex.split(line), _text)
        return status, str(output)

    def _verb(self, verb: str, subject: str) -> None:
        argv = ["lpengine", verb, subject, "--target", self._target, "--json"]
        status, said = self._timed(verb, argv, _document)
        if status not in (0, 20):
            verdict = "refused" if _only_planned(said) else "failed"
            raise _Ended(verdict, f"{verb}: {reason_of(said)} (status {status})")

    def _timed(
        self, what: str, argv: Sequence[str], read: Callable[[bytes, bytes], object]
    ) -> tuple[int, object]:
        begun = time.monotonic()
        done = self._guest.run(argv, timeout=_STEP_TIMEOUT)
        seconds = round(time.monotonic() - begun, 3)
        said = read(done.stdout, done.stderr)
        self.steps.append(TrialStep(what, done.status, seconds, said))
        return done.status, said


def try_module(guest: Guest, module: Path, checks: Sequence[str] = ()) -> Trial:
    """Try a module in a guest of its kind. `checks` are command lines, run before,
    with and after the patch."""
    from_here = len(guest.console)
    script = _Script(guest, module.read_bytes(), module.name, checks)
    verdict, reason = "passed", ""
    try:
        script.play()
    except _Ended as end:
        verdict, reason = end.verdict, end.reason
    except HostError as error:
        verdict, reason = "died", error.message
    console = guest.console[from_here:]
    return Trial(verdict, reason, tuple(script.steps), script.comparisons, console)


def _text(stdout: bytes, stderr: bytes) -> object:
    return (stdout + stderr).decode(errors="replace").replace("\0", "").rstrip()


def _document(stdout: bytes, stderr: bytes) -> object:
    try:
        return json.loads(stdout)
    except ValueError:
        return _text(stdout, stderr)


def _only_planned(said: object) -> bool:
    """Whether a verb ended with its plan: nothing was attempted."""
    return isinstance(said, dict) and "plan" in said and said["outcome"] is None


def reason_of(said: object) -> str:
    """Why a verb did not succeed, from its document."""
    return next(iter(_reasons(said)), "no reason given")


def _reasons(said: object) -> Iterator[str]:
    if not isinstance(said, dict):
        yield from str(said).splitlines()[-1:]
        return
    if "message" in said:
        yield str(said["message"])
    outcome = said.get("outcome")
    if isinstance(outcome, dict) and outcome.get("error"):
        yield str(outcome["error"])
    plan = said.get("plan", said)
    for finding in plan.get("findings", ()):
        if finding["severity"] == "block":
            yield f"{finding['code']} {finding['subject']}: {finding['observed']}"

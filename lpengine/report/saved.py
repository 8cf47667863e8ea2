"""A plan document read back: what `lpengine apply --plan` carries out."""

from pathlib import Path

import msgspec

from lpengine.errors import InputError, NotFoundError
from lpengine.planner import Guidance, Plan, Verdict
from lpengine.planner.plan import Apply, Load, Replace, Revert, Step, Unload
from lpengine.report.documents import PlanDocument, StepRow

SCHEMA = "lpengine/plan/1"


def load_plan(path: Path) -> Plan:
    """The plan that `lpengine plan --json` printed. Its findings stay behind: a
    plan to be carried out has none that block. `InputError` for anything else."""
    try:
        document = msgspec.json.decode(path.read_bytes(), type=PlanDocument)
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such file") from None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise not_a_plan(path, str(error)) from None
    if document.schema != SCHEMA:
        raise not_a_plan(path, f"its schema is {document.schema!r}")
    try:
        return Plan(
            target=document.target,
            action=document.action,
            verdict=Verdict(document.verdict),
            steps=tuple(step_of(row) for row in document.steps),
            findings=(),
            tasks=tuple(Guidance(task) for task in document.tasks),
            state_digest=document.state_digest,
        )
    except ValueError as error:
        raise not_a_plan(path, str(error)) from None


def not_a_plan(path: Path, why: str) -> InputError:
    return InputError(
        f"{path}: not a saved plan: {why}",
        hint="make one with `lpengine plan --json MODULE... > FILE`",
    )


def step_of(row: StepRow) -> Step:
    match row.do:
        case "load":
            return Load(row.patch, row.sha256)
        case "apply":
            return Apply(row.patch, row.nodeps, row.force)
        case "revert":
            return Revert(row.patch, row.force)
        case "replace":
            return Replace(row.patch, tuple(row.replaces), row.force)
        case "unload":
            return Unload(row.patch, row.sha256)
        case _:
            raise ValueError(f"there is no step {row.do!r}")

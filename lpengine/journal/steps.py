"""Steps of a plan as JSON objects and back."""

from typing import Any

import msgspec

from lpengine.planner.plan import Apply, Load, Plan, Replace, Revert, Step, Unload

STEP_TYPES: dict[str, type[Step]] = {
    "load": Load,
    "apply": Apply,
    "revert": Revert,
    "replace": Replace,
    "unload": Unload,
}


def encode_step(step: Step) -> dict[str, Any]:
    """{"step": "apply", "name": …} with the step's own fields."""
    return {"step": type(step).__name__.lower(), **msgspec.to_builtins(step)}


def decode_step(value: dict[str, Any]) -> Step:
    """The inverse of `encode_step`. `msgspec.ValidationError` or `KeyError` for
    anything else."""
    fields = dict(value)
    return msgspec.convert(fields, STEP_TYPES[fields.pop("step")])


def encode_plan(plan: Plan) -> bytes:
    value = msgspec.to_builtins(plan)
    value["steps"] = [encode_step(step) for step in plan.steps]
    return msgspec.json.encode(value)


def decode_plan_steps(plan: str) -> tuple[Step, ...]:
    """The steps of an encoded plan."""
    return tuple(decode_step(step) for step in msgspec.json.decode(plan)["steps"])

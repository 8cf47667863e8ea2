"""Live patches on x86-64: built, proved, planned, applied and taken back.

What a test harness uses is here: `from lpengine import apply, create_machine`. The
names are loaded when first used, so that `import lpengine` costs nothing.
"""

from importlib import import_module
from typing import Any

# Public name to the module that has it.
_EXPORTS = {
    "apply": "lpengine.api.targets",
    "apply_plan": "lpengine.api.targets",
    "build_asm": "lpengine.api.builds",
    "build_c": "lpengine.api.builds",
    "attach_signature": "lpengine.api.updates",
    "call": "lpengine.api.machines",
    "create_bundle": "lpengine.api.updates",
    "create_machine": "lpengine.api.machines",
    "emulate": "lpengine.api.machines",
    "explain": "lpengine.planner",
    "history": "lpengine.api.targets",
    "inspect": "lpengine.api.modules",
    "inspect_bundle": "lpengine.api.updates",
    "plan": "lpengine.api.targets",
    "plan_revert": "lpengine.api.targets",
    "recover": "lpengine.api.recovery",
    "recover_host": "lpengine.api.recovery",
    "replace": "lpengine.api.targets",
    "revert": "lpengine.api.targets",
    "sign_bundle": "lpengine.api.updates",
    "status": "lpengine.api.targets",
    "unload": "lpengine.api.targets",
    "verify_bundle": "lpengine.api.updates",
    "BusyError": "lpengine.errors",
    "FaultError": "lpengine.errors",
    "InputError": "lpengine.errors",
    "LpengineError": "lpengine.errors",
    "RefusedError": "lpengine.errors",
    "SignatureError": "lpengine.errors",
    "StuckError": "lpengine.errors",
    "TargetError": "lpengine.errors",
    "Image": "lpengine.elf",
    "open_image": "lpengine.elf",
    "Patch": "lpengine.patch.model",
    "load_patch": "lpengine.patch.reader",
    "load_payload": "lpengine.patch.xen.reader",
    "Bundle": "lpengine.package",
    "Update": "lpengine.package.model",
    "open_update": "lpengine.package",
    "read_updates": "lpengine.package",
    "write_bundle": "lpengine.package",
    "Facts": "lpengine.planner",
    "Finding": "lpengine.planner",
    "Guidance": "lpengine.planner",
    "Plan": "lpengine.planner",
    "Policy": "lpengine.planner",
    "Verdict": "lpengine.planner",
    "EmulatedMachine": "lpengine.machine",
    "open_machine": "lpengine.machine",
    "Loader": "lpengine.loader",
    "MachineTarget": "lpengine.targets.machine",
    "Target": "lpengine.targets",
    "open_target": "lpengine.targets",
    "Outcome": "lpengine.engine",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'lpengine' has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])

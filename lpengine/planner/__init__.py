"""Decides; pure: no I/O, no clock, no randomness."""

from lpengine.planner.catalogue import CATALOGUE, Code, explain
from lpengine.planner.decide import plan_apply, plan_replace, plan_revert, plan_unload
from lpengine.planner.digest import state_digest
from lpengine.planner.facts import (
    BusyFact,
    Capabilities,
    CodeFact,
    ExportFact,
    Facts,
    ImageFacts,
    KernelFacts,
    LoadedPatch,
    ModuleFact,
    PatchedFunction,
    PatchState,
    Span,
    SymbolFact,
)
from lpengine.planner.findings import Finding, Guidance, Severity
from lpengine.planner.plan import (
    Apply,
    Load,
    Plan,
    Policy,
    Replace,
    Revert,
    Step,
    Unload,
    Verdict,
)

__all__ = [
    "CATALOGUE",
    "Apply",
    "BusyFact",
    "Capabilities",
    "Code",
    "CodeFact",
    "ExportFact",
    "Facts",
    "Finding",
    "Guidance",
    "ImageFacts",
    "KernelFacts",
    "Load",
    "LoadedPatch",
    "ModuleFact",
    "PatchState",
    "PatchedFunction",
    "Plan",
    "Policy",
    "Replace",
    "Revert",
    "Severity",
    "Span",
    "Step",
    "SymbolFact",
    "Unload",
    "Verdict",
    "explain",
    "plan_apply",
    "plan_replace",
    "plan_revert",
    "plan_unload",
    "state_digest",
]

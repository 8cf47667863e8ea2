"""Runs inside dom0: what an operator does, through the public functions, in one
program; prints as JSON what was seen after each step.

    python xen_life.py DIRECTORY

DIRECTORY has the payloads first, second (on first), cumulative and spent, and in
`deadly` those that must never reach the hypervisor.
"""

import json
import sys
from pathlib import Path
from typing import Any

import lpengine
from lpengine.core.hypercall import Hypervisor, Privcmd
from lpengine.targets import open_target

EXTRA = Path("/sys/hypervisor/version/extra")


def look() -> dict[str, Any]:
    facts = lpengine.status("xen").facts
    return {
        "extra": EXTRA.read_text().strip(),
        "applied": facts.applied,
        "loaded": [one.name for one in facts.loaded],
        "build_id": facts.image.build_id,
        "version": facts.image.version,
    }


def done(acted: Any) -> dict[str, Any]:
    outcome = acted.outcome.status if acted.outcome else "refused"
    causes = [f.cause for f in acted.planned.plan.findings if f.severity == "block"]
    return {"outcome": outcome, "causes": causes, **look()}


def live(there: Path) -> dict[str, Any]:
    first, second = there / "first.livepatch", there / "second.livepatch"
    cumulative, spent = there / "cumulative.livepatch", there / "spent.livepatch"
    seen: dict[str, Any] = {"before": look()}
    planned = lpengine.plan([first], "xen")
    seen["plan"] = {"verdict": str(planned.plan.verdict), **look()}
    seen["apply"] = done(lpengine.apply([first], "xen"))
    seen["again"] = done(lpengine.apply([first], "xen"))
    seen["stacked"] = done(lpengine.apply([second], "xen"))
    seen["not the top"] = done(lpengine.revert(["first"], "xen"))
    seen["replaced"] = done(lpengine.replace(cumulative, "xen"))
    seen["reverted"] = done(lpengine.revert(["cumulative"], "xen"))
    seen["unloaded"] = done(lpengine.unload([], "xen", everything=True))
    seen["with data"] = done(lpengine.apply([spent], "xen"))
    lpengine.revert(["spent"], "xen")
    seen["with data, afresh"] = done(lpengine.apply([spent], "xen"))
    lpengine.revert(["spent"], "xen")
    lpengine.unload(["spent"], "xen")
    seen["both at once"] = done(lpengine.apply([first, second], "xen"))
    seen["module"] = open_target("xen").module("first").sha256
    lpengine.revert([], "xen", everything=True)
    seen["after"] = done(lpengine.unload([], "xen", everything=True))
    return seen


def foreign(there: Path) -> dict[str, Any]:
    """Another program loads a payload behind our back."""
    xen = Hypervisor(Privcmd())
    xen.upload("foreign", (there / "first.livepatch").read_bytes())
    seen = {"listed": look()}
    again = lpengine.apply([there / "first.livepatch"], "xen")
    seen["same build id"] = {"error": again.outcome.error, **done(again)}
    open_target("xen").unload("foreign")
    seen["removed"] = look()
    return seen


def deadly(there: Path) -> dict[str, Any]:
    refused = {}
    for path in sorted((there / "deadly").iterdir()):
        acted = lpengine.apply([path], "xen")
        refused[path.stem] = done(acted)
    return refused


def main(path: str) -> None:
    there = Path(path)
    seen = {"life": live(there), "foreign": foreign(there), "deadly": deadly(there)}
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1])

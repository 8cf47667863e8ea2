"""Runs inside dom0: plays scenarios of raw hypercalls, each from an empty list of
payloads to an empty list, and prints as JSON how every step ended.

    python in_dom0.py SCENARIOS.json

A scenario is a list of steps: [verb, name, more], where `more` is the payload's file
for an upload and the flags for an action. A step ends with "" or an errno's name. What
the plan says of the last step, from what is so on the hypervisor then, is printed too:
the errno of each finding that refuses it.
"""

import errno
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from lpengine.core.hypercall import Action, Hypervisor, Privcmd
from lpengine.patch.xen.reader import read_payload
from lpengine.planner import (
    Policy,
    plan_apply,
    plan_replace,
    plan_revert,
    plan_unload,
)
from lpengine.targets import open_target

SECOND = 1_000_000_000
TRIES = 40


def name_of(number: int) -> str:
    """ENOTSUP is Linux's other name of that number."""
    names = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP", 0: ""}
    return names[number]


def act(xen: Hypervisor, name: str, action: Action, flags: int = 0) -> str:
    """Until the hypervisor has not been too busy to begin or to finish it: all
    scenarios are about other answers."""
    answer = ""
    for _ in range(TRIES):
        answer = attempt(xen, name, action, flags)
        if answer != "EBUSY" or said_not_top(xen):
            break
        time.sleep(0.01)
    return answer


def attempt(xen: Hypervisor, name: str, action: Action, flags: int) -> str:
    try:
        before = xen.get(name)
        xen.act(name, action, SECOND, flags)
    except OSError as error:
        return name_of(error.errno or 0)
    if action is Action.UNLOAD:
        return ""
    if before.applied is not (action is Action.REVERT):
        # It says success, does nothing, and shows how an earlier action ended.
        return "" if xen.get(name) == before else "changed"
    while True:
        result = xen.get(name).result
        if result != errno.EAGAIN:
            return name_of(result)
        time.sleep(0.001)


def said_not_top(xen: Hypervisor) -> bool:
    lines = [line for line in xen.console()[0].splitlines() if b"livepatch:" in line]
    return bool(lines) and b"Timed out" not in lines[-1] and b"rc=-16" not in lines[-1]


def play(xen: Hypervisor, steps: list[list]) -> list[str]:
    return [step(xen, *each) for each in steps]


def step(xen: Hypervisor, verb: str, name: str, more: str | int) -> str:
    if verb != "upload":
        return act(xen, name, Action[verb.upper()], int(more))
    raw = Path(more).read_bytes()
    try:
        xen.upload(name, raw)
    except OSError as error:
        return name_of(error.errno or 0)
    # As if the engine had: it knows no others' payloads.
    store = open_target("xen")._store
    store.keep(read_payload(raw, name))
    known = store.memory()
    store.remember(known.loading(name, hashlib.sha256(raw).hexdigest()))
    return ""


def foresee(steps: list[list]) -> list[str]:
    """What the plan has against the last step, from what is so before it."""
    verb, name, more = steps[-1]
    uploaded = {n: Path(m).read_bytes() for v, n, m in steps if v == "upload"}
    target = open_target("xen")
    patches = [read_payload(uploaded[name], name)] if name in uploaded else []
    facts = target.facts(patches)
    if verb in ("revert", "unload") or not patches:
        planned = (plan_unload if verb == "unload" else plan_revert)([name], facts)
    elif verb == "replace":
        planned = plan_replace(patches[0], facts)
    else:
        nodeps = verb == "apply" and bool(more)
        planned = plan_apply(patches, facts, Policy(nodeps=nodeps))
    return [finding.errno for finding in planned.blocking]


def clear(xen: Hypervisor) -> None:
    """Everything off, whatever the order in which it went on."""
    for _ in range(2 * len(xen.payloads()) + 1):
        for one in reversed(xen.payloads()):
            if one.applied:
                attempt(xen, one.name, Action.REVERT, 0)
    for one in xen.payloads():
        attempt(xen, one.name, Action.UNLOAD, 0)


def main(path: str) -> None:
    xen = Hypervisor(Privcmd())
    scenarios = json.loads(Path(path).read_text())
    answers, foreseen = {}, {}
    for case, steps in scenarios.items():
        # What it was at when the hypervisor dies.
        print(f"now {case}", file=sys.stderr, flush=True)
        before = play(xen, steps[:-1])
        foreseen[case] = foresee(steps)
        answers[case] = [*before, step(xen, *steps[-1])]
        clear(xen)
    left = [one.name for one in xen.payloads()]
    print(json.dumps({"answers": answers, "foreseen": foreseen, "left": left}))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        os.environ["LPENGINE_STATE_DIR"] = directory
        main(sys.argv[1])

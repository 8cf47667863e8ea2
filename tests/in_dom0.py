"""Runs inside dom0: plays scenarios of raw hypercalls, each from an empty list of
payloads to an empty list, and prints as JSON how every step ended.

    python in_dom0.py SCENARIOS.json

A scenario is a list of steps: [verb, name, more], where `more` is the payload's file
for an upload and the flags for an action. A step ends with "" or an errno's name.
"""

import errno
import json
import sys
import time
from pathlib import Path

from lpengine.core.hypercall import Action, Hypervisor, Privcmd

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
    answers = []
    for verb, name, more in steps:
        if verb == "upload":
            try:
                xen.upload(name, Path(more).read_bytes())
                answers.append("")
            except OSError as error:
                answers.append(name_of(error.errno or 0))
        else:
            answers.append(act(xen, name, Action[verb.upper()], more))
    return answers


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
    answers = {}
    for case, steps in scenarios.items():
        # What it was at when the hypervisor dies.
        print(f"now {case}", file=sys.stderr, flush=True)
        answers[case] = play(xen, steps)
        clear(xen)
    left = [one.name for one in xen.payloads()]
    print(json.dumps({"answers": answers, "left": left}))


if __name__ == "__main__":
    main(sys.argv[1])

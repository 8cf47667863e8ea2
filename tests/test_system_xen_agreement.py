"""Emulation and reality agree: every scenario of agreement.py ends alike, step by
step, in the emulated machine and in Debian's Xen; and the plan foresaw the end of it
from what it saw of the running hypervisor."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from lpengine.elf import open_image
from lpengine.hosts.lab.initramfs import python_command
from tests.agreement import Step, emulated, scenarios

pytestmark = pytest.mark.system
ROOT = Path(__file__).parent.parent
LEAST = 30

# What the emulated machine, on purpose, does not do as Xen does: case -> why.
EXPLAINED: dict[str, str] = {}

# What no plan can know beforehand: case -> why.
UNFORESEEN = {"hook that says no": "a hook's answer is known when it has run"}


@pytest.fixture(scope="module")
def cases(xen_image: Path) -> dict[str, list[Step]]:
    return scenarios(open_image(xen_image))


@pytest.fixture(scope="module")
def played(cases, xen_guest, tmp_path_factory) -> dict[str, dict]:
    """All of them in one program in dom0."""
    there = tmp_path_factory.mktemp("agreement")
    written = {}
    for number, (case, steps) in enumerate(cases.items()):
        written[case] = [
            (verb, name, keep(there / f"{number}.{index}", more))
            for index, (verb, name, more) in enumerate(steps)
        ]
    (there / "scenarios.json").write_text(json.dumps(written))
    script, scenarios = ROOT / "tests/in_dom0.py", there / "scenarios.json"
    words = [*python_command(), str(script), str(scenarios)]
    done = xen_guest.run(words, timeout=timedelta(minutes=5))
    assert done.status == 0, done.stderr.decode()
    answer = json.loads(done.stdout)
    assert answer["left"] == []
    return answer


@pytest.fixture(scope="module")
def real(played) -> dict[str, list[str]]:
    return played["answers"]


def keep(path: Path, more: object) -> object:
    if not isinstance(more, bytes):
        return more
    path.write_bytes(more)
    return str(path)


def test_there_are_enough(cases) -> None:
    assert len(cases) >= LEAST


def test_reality_answers_as_the_emulated_machine(cases, real, xen_image) -> None:
    image = open_image(xen_image)
    table = {
        case: (emulated(image, steps), real[case]) for case, steps in cases.items()
    }
    different = {
        case: {"emulated": ours, "real": theirs}
        for case, (ours, theirs) in table.items()
        if ours != theirs and case not in EXPLAINED
    }
    assert different == {}, json.dumps(different, indent=1)


def test_the_plan_foresaw_how_it_ends(played) -> None:
    """Where Xen says no the plan has that errno; what the plan has besides is what
    Xen does not look at, and comes without one."""
    wrong = {}
    for case, answers in played["answers"].items():
        said, answer = played["foreseen"][case], answers[-1]
        errnos = [errno for errno in said if errno]
        right = errnos[:1] == [answer] if answer else not said
        if right is (case in UNFORESEEN):
            wrong[case] = {"plan": said, "hypervisor": answer}
    assert wrong == {}, json.dumps(wrong, indent=1)

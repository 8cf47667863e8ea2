"""An emulated machine with two patches applied, one above the other, the upper with
data of its own, and plans for it as the planner makes them."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from lpengine.elf import Image
from lpengine.engine import Outcome, execute, recover
from lpengine.journal import Journal
from lpengine.machine.layout import loaded_segments
from lpengine.patch.model import Patch
from lpengine.planner import Plan, Policy, plan_apply, plan_replace, plan_revert
from lpengine.planner.facts import Facts
from lpengine.planner.plan import Step
from lpengine.targets import Target, open_target
from lpengine.targets.machine import MachineTarget
from tests.contract.conftest import emulated
from tests.contract.subject import data_section


class MachineCase:
    """A prepared machine, to be copied for every try."""

    def __init__(self, directory: Path, image_path: Path, image: Image) -> None:
        self.pristine, self.directory = directory / "pristine", directory / "machine"
        self.image = image
        make = emulated(self.pristine, image_path, image)
        lower = make.payload("lower", make.returning("xen_major_version", 5))
        upper = make.payload(
            "upper",
            make.returning("xen_minor_version", 18),
            depends=lower,
            sections=[data_section()],
        )
        third = make.payload(
            "third", make.returning("xen_major_version", 6), depends=upper
        )
        everything = make.payload("all", make.returning("xen_major_version", 7))
        self.patches = {p.name: p for p in (lower, upper, third, everything)}
        make.load(lower, upper)
        make.apply(lower, upper)
        self.start = self.standing(make.target)

    def fresh(self) -> Target:
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.copytree(self.pristine, self.directory)
        return self.open()

    def open(self) -> Target:
        return open_target(f"emulated:{self.directory}")

    def plan(self, name: str, target: Target) -> Plan:
        """`name` is a key of VERBS."""
        facts = target.facts(tuple(self.patches.values()))
        plan = VERBS[name](self.patches, facts)
        assert plan.steps, plan.findings
        return plan

    def act(self, name: str) -> Outcome:
        target = self.open()
        with Journal(self.directory) as journal:
            plan = self.plan(name, target)
            return execute(plan, target, journal, self.patches)

    def steps(self, name: str) -> Sequence[Step]:
        return self.plan(name, self.fresh()).steps

    def recover(self) -> Outcome | None:
        with Journal(self.directory) as journal:
            return recover(self.open(), journal)

    def standing(self, target: Target) -> tuple[object, ...]:
        """Every byte of the image in memory, and what is loaded and applied."""
        assert isinstance(target, MachineTarget)
        facts = target.facts()
        digest = hashlib.sha256()
        for segment in loaded_segments(self.image):
            where, size = segment.virtual_address, segment.memory_size
            digest.update(target.machine.read(where, size))
        loaded = {(p.name, p.sha256, p.state) for p in facts.loaded}
        return digest.hexdigest(), loaded, facts.applied

    def standing_on_disk(self) -> tuple[object, ...]:
        return self.standing(self.open())


VERBS: dict[str, Callable[[dict[str, Patch], Facts], Plan]] = {
    "apply": lambda patches, facts: plan_apply([patches["third"]], facts, Policy()),
    "revert": lambda _, facts: plan_revert(("upper", "lower"), facts, Policy()),
    "replace": lambda patches, facts: plan_replace(patches["all"], facts, Policy()),
}

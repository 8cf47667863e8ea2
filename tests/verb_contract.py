"""What the verbs do on every target, however its machine is reached."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lpengine.cli import run

REFUSED, REJECTED, NOT_FOUND, STALE = 10, 13, 4, 12
FIRST, SECOND = 0, 1


@dataclass(frozen=True)
class Traits:
    """What targets promise differently. `ordered`: only the topmost patch comes off.
    `stacking`: a patch names the one below it, and does not go on without it."""

    ordered: bool
    stacking: bool


@dataclass
class Place:
    """A target and how to reach it, with two functions whose effect can be seen.

    `build(name, says, function, below, more)` makes a module that has a function say
    something; `says(function)` is what it says now.
    """

    target: str
    host: str
    traits: Traits
    build: Callable[..., Path]
    says: Callable[[int], str]
    output: Callable[[], str]

    def verb(self, *words: object, status: int = 0) -> Any:
        """The verb's document; it has to exit with `status`."""
        where = ["--target", self.target, "--host", self.host, "--json"]
        code = run([*map(str, words), *where])
        document = json.loads(self.output())
        assert code == status, document
        return document

    def status(self) -> list[tuple[str, str]]:
        patches = self.verb("status")["patches"]
        return [(patch["name"], patch["state"]) for patch in patches]

    def clear(self, names: Sequence[str]) -> None:
        self.verb("revert", "--all")
        self.verb("unload", *names)
        assert self.status() == []


def causes(document: Any) -> list[str]:
    findings = document.get("plan", document)["findings"]
    return [each["cause"] for each in findings if each["severity"] == "block"]


class VerbContract:
    """Subclasses in test files give a `place` fixture; nothing is loaded there, and
    nothing is left behind."""

    def test_a_whole_life_leaves_no_trace(self, place: Place) -> None:
        before, status = place.says(FIRST), place.verb("status")
        module = place.build("one", "live")
        planned = place.verb("plan", module)
        assert planned["verdict"] == "ready"
        assert [step["do"] for step in planned["steps"]] == ["load", "apply"]
        assert place.says(FIRST) == before
        assert place.verb("apply", module)["outcome"]["status"] == "done"
        assert place.says(FIRST) == "live"
        assert place.status() == [("one", "applied")]
        assert place.verb("apply", module)["outcome"]["status"] == "nothing"
        assert place.verb("revert", "one")["outcome"]["status"] == "done"
        assert place.says(FIRST) == before
        assert place.status() == [("one", "checked")]
        assert place.verb("apply", module)["outcome"]["status"] == "done"
        assert place.says(FIRST) == "live"
        place.clear(["one"])
        assert place.says(FIRST) == before
        assert place.verb("status") == status
        runs = place.verb("history", "--limit", "2")["runs"]
        assert [run["verb"] for run in runs] == ["unload", "revert"]
        assert place.verb("recover")["targets"][0]["outcome"] is None

    def test_the_top_of_the_stack_is_what_runs(self, place: Place) -> None:
        before = place.says(FIRST)
        one = place.build("one", "first")
        two = place.build("two", "second", below=one)
        place.verb("apply", one, two)
        assert place.says(FIRST) == "second"
        assert place.status() == [("one", "applied"), ("two", "applied")]
        if place.traits.ordered:
            refused = place.verb("revert", "one", status=REFUSED)
            assert causes(refused) == ["not-top"]
            assert place.says(FIRST) == "second"
            place.verb("revert", "two")
            assert place.says(FIRST) == "first"
        else:
            place.verb("revert", "one")
            assert place.says(FIRST) == "second"
        place.clear(["one", "two"])
        assert place.says(FIRST) == before

    def test_what_lies_below_is_required_where_it_is_named(self, place: Place) -> None:
        before = place.says(FIRST)
        one = place.build("one", "first")
        two = place.build("two", "second", below=one)
        if place.traits.stacking:
            refused = place.verb("apply", two, status=REFUSED)
            assert causes(refused) == ["depends-mismatch"]
            assert (place.says(FIRST), place.status()) == (before, [])
        else:
            place.verb("apply", two)
            assert place.says(FIRST) == "second"
            place.clear(["two"])

    def test_one_patch_takes_the_place_of_all(self, place: Place) -> None:
        before = place.says(FIRST), place.says(SECOND)
        one = place.build("one", "first")
        two = place.build("two", "other", SECOND, below=one)
        whole = place.build("whole", "whole", cumulative=True)
        place.verb("apply", one, two)
        assert (place.says(FIRST), place.says(SECOND)) == ("first", "other")
        place.verb("replace", whole)
        assert (place.says(FIRST), place.says(SECOND)) == ("whole", before[SECOND])
        assert ("whole", "applied") in place.status()
        place.clear(["one", "two", "whole"])
        assert (place.says(FIRST), place.says(SECOND)) == before

    def test_what_is_refused_changes_nothing(self, place: Place) -> None:
        before = place.says(FIRST)
        foreign = place.build("foreign", "foreign", other_build=True)
        damaged = place.build("damaged", "damaged")
        damaged.write_bytes(damaged.read_bytes()[:-200])
        good = place.build("good", "good")
        for module, status in ((foreign, REFUSED), (damaged, REJECTED)):
            planned = place.verb("plan", module, status=status)
            refused = place.verb("apply", good, module, status=status)
            assert set(causes(planned)) & set(causes(refused))
            assert refused["outcome"] is None
        assert (place.says(FIRST), place.status()) == (before, [])

    def test_what_is_not_there_is_not_found(self, place: Place) -> None:
        for verb in ("revert", "unload"):
            refused = place.verb(verb, "nobody", status=NOT_FOUND)
            assert causes(refused) == ["not-found"]
        missing = place.verb("apply", "/nowhere/missing.ko", status=NOT_FOUND)
        assert "missing.ko" in missing["message"]

    def test_what_is_applied_stays_loaded(self, place: Place) -> None:
        module = place.build("one", "live")
        place.verb("apply", module)
        refused = place.verb("unload", "one", status=REFUSED)
        assert causes(refused) == ["unload-applied"]
        assert place.says(FIRST) == "live"
        place.clear(["one"])

    def test_a_plan_is_good_for_the_state_it_was_made_for(
        self, place: Place, tmp_path: Path
    ) -> None:
        before = place.says(FIRST)
        module = place.build("one", "live")
        assert place.verb("apply", module, "--dry-run")["outcome"] is None
        plan = tmp_path / "plan.json"
        plan.write_text(json.dumps(place.verb("plan", module)))
        assert (place.says(FIRST), place.status()) == (before, [])
        place.verb("apply", module, "--plan", plan)
        assert place.says(FIRST) == "live"
        stale = place.verb("apply", module, "--plan", plan, status=STALE)
        assert "has changed" in stale["message"]
        place.clear(["one"])


@pytest.fixture
def output(capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: capfd.readouterr().out

"""Every rule can be asked with JSON, strictly, and is documented."""

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest

from lpengine.errors import InputError, NotFoundError
from lpengine.package.model import Update
from lpengine.planner.updates import HostState, PoolState, decide, wire
from lpengine.planner.updates.rulebook import RULES, ask
from tests.fleet_cases import host, livepatch, package, pool, runs, update

ROOT = Path(__file__).parent.parent
FLEET = [pool(host(runs(), installed={"xen.x86_64": livepatch(3).to}))]
UPDATES = [update(1, livepatch(6), packages=(package(6),))]


def asked(rule: str, **arguments: object) -> object:
    return json.loads(ask(rule, json.dumps(arguments).encode()))


def test_the_documentation_names_every_rule_and_no_other() -> None:
    text = (ROOT / "docs" / "planning.md").read_text()
    table = text[text.index("## The rules") : text.index("## What the decision")]
    assert set(re.findall(r"`(\w+\.\w+)`", table)) == set(RULES)


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_rules_say_what_they_do_and_take(rule) -> None:
    assert rule.summary.endswith(".")
    assert rule.headline
    for one in rule.arguments:
        assert msgspec.json.schema(one.kind)


def test_the_example_of_the_documentation_works() -> None:
    text = (ROOT / "docs" / "planning.md").read_text()
    example = text.split("```json\n")[1].split("```")[0]
    plan = json.loads(ask("plan.decide", example.encode()))
    (row,) = plan["pools"][0]["hosts"]
    assert row["effective"] == "ok_livepatch_complete"
    assert row["after"] == []


@pytest.mark.parametrize(
    ("rule", "arguments", "answer"),
    [
        (
            "version.compare",
            {"one": {"version": "1~a"}, "other": {"version": "1"}},
            -1,
        ),
        ("guidance.published", {"word": "RestartVM"}, "restart_vm"),
        (
            "guidance.cascaded",
            {"levels": [["mandatory", ["reboot_host"]], ["full", ["restart_vm"]]]},
            [["mandatory", ["reboot_host"]], ["full", ["restart_vm"]]],
        ),
        (
            "pending.after_livepatches",
            {"previous": [], "applied": ["kernel"], "failed": ["xen"]},
            ["reboot_host_on_xen_livepatch_failure"],
        ),
        ("hotfix.reboot_required", {"guidance": ["restartHost"], "status": None}, True),
        ("hotfix.status_word", {"output": ""}, "ok"),
        (
            "apply.feature_allowed",
            {"flags": {"restrict_live_patching": "false"}, "feature": "live_patching"},
            True,
        ),
    ],
)
def test_rules_answer(rule: str, arguments: dict, answer: object) -> None:
    assert asked(rule, **arguments) == answer


def test_the_whole_planner_can_be_asked() -> None:
    fleet = {"updates": wire.plain(UPDATES), "fleet": wire.plain(FLEET)}
    assert asked("plan.decide", **fleet) == wire.plain(decide(UPDATES, FLEET))
    page = asked("plan.page", **fleet)
    assert page["text"] == "No action required"
    assert page["hosts"] == [["host1", "No action required"]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (b"{", "truncated"),
        (b"[]", "object"),
        (b"{}", "needs 'updates'"),
        (b'{"updates": [], "fleet": [], "x": 1}', "takes no 'x'"),
        (b'{"updates": [{}], "fleet": []}', "missing required field `id`"),
        (b'{"updates": [{"id": "U", "idd": 1}], "fleet": []}', r"updates\[0\].idd"),
        (
            b'{"updates": [], "fleet": [{"name": "p", "hosts": [{"name": "h",'
            b' "running": [{"component": "xen", "build_id": "a", "too": 1}]}]}]}',
            r"fleet\[0\].hosts\[0\].running\[0\].too is not known",
        ),
    ],
)
def test_what_a_rule_does_not_take_is_refused(arguments: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ask("plan.decide", arguments)


def test_a_rule_has_to_exist() -> None:
    with pytest.raises(NotFoundError, match=r"guidance\.reduce"):
        ask("guidance.reduce", b"{}")


def test_equal_values_have_equal_digests_wherever_they_come_from() -> None:
    read = [wire.convert(wire.plain(one), Update) for one in UPDATES]
    sparse = {
        "name": "p",
        "hosts": [{"name": "h", "features": {"live_patching": True}}],
    }
    made = PoolState("p", (HostState("h", features={"live_patching": True}),))
    assert decide(read, [wire.convert(sparse, PoolState)]) == decide(UPDATES, [made])


@dataclass(frozen=True)
class Box:
    one: int = 1
    some: frozenset[str] = field(default_factory=frozenset)


def test_json_has_every_field_and_one_order() -> None:
    read = wire.convert({}, Box)
    assert wire.encode(read) == wire.encode(Box()) == b'{"one":1,"some":[]}'
    both = replace(read, some=frozenset({"b", "a"}))
    assert wire.encode({"z": both, "a": 1}) == b'{"a":1,"z":{"one":1,"some":["a","b"]}}'


def test_the_verb(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from lpengine.cli import run

    def said(*arguments: str) -> str:
        assert run(["rule", *arguments]) == 0
        return capfd.readouterr().out

    assert "guidance.reduced" in said()
    assert "tasks: list of Task" in said("guidance.reduced")
    question = tmp_path / "question.json"
    question.write_text('{"tasks": ["reboot_host", "restart_toolstack"]}')
    assert said("guidance.reduced", "--ask", str(question)) == '["reboot_host"]\n'
    found = json.loads(said("guidance.reduced", "--ask", str(question), "--json"))
    assert found["schema"] == "lpengine/rule/1"
    assert found["answer"] == ["reboot_host"]
    assert [one["name"] for one in found["arguments"]] == ["tasks"]
    assert run(["rule", "nothing"]) == 4
    assert run(["rule", "--json"]) == 2

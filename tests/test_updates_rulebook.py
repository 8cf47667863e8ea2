"""Every rule can be asked with JSON, strictly, and is documented."""

import json
import re
import typing
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from pathlib import Path

import msgspec
import pytest

from lpengine.errors import InputError, NotFoundError
from lpengine.package.model import Level, LivePatch, Task, Update, Version
from lpengine.planner.updates import (
    HostState,
    LivepatchStatus,
    PoolState,
    RunningComponent,
    decide,
    wire,
)
from lpengine.planner.updates.reading import convert
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
    assert page["mode"] == "automatic"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (b"{", "truncated"),
        (b"[]", "object"),
        (b"[" * 100_000, "object"),
        (b'{"updates": ' + b"[" * 100_000, "recursion"),
        (b"\xff", "malformed"),
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


def least(kind) -> object:
    """The smallest JSON that a type could take."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        needed = (one for one in fields(kind) if one.default is one.default_factory)
        return {one.name: least(hints[one.name]) for one in needed}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind))
    if origin is not None:
        empty = {tuple: [], frozenset: [], dict: {}}
        return empty[origin] if origin in empty else least(inner[0])
    return kind()


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_every_rule_answers_or_says_what_it_lacks(rule) -> None:
    question = {one.name: least(one.kind) for one in rule.arguments if one.required}
    if rule.name in ("version.parse_rpm", "version.parse_rpm_package"):
        question["text"] = "xen-4.17-1.x86_64" if "package" in rule.name else "4.17-1"
    if rule.name == "version.parse_debian":
        question["text"] = "4.17-1"
    assert asked(rule.name, **question) is not ...
    with pytest.raises(InputError):
        ask(rule.name, b'{"nothing": 1}')


XAPIS = {
    "updates": [
        {
            "id": "U1",
            "components": ["xen", "kernel"],
            "guidance": {"Recommended": ["RebootHost"], "mandatory": []},
            "guidance_applicabilities": [
                {
                    "name": "xen",
                    "arch": "x86_64",
                    "inequality": "lt",
                    "epoch": None,
                    "version": "4.17.4",
                    "release": "6",
                }
            ],
            "livepatches": [
                {
                    "component": "Xen",
                    "base_build_id": "0fb0",
                    "base_version": "4.17.4",
                    "base_release": "1",
                    "to_version": "4.17.4",
                    "to_release": "6",
                }
            ],
        }
    ],
    "fleet": [
        {
            "name": "p",
            "live_patching_disabled": False,
            "hosts": [
                {
                    "name": "h",
                    "running": [
                        {
                            "component": "Xen",
                            "base_build_id": "0fb0",
                            "to_version": None,
                            "to_release": None,
                        },
                        {
                            "component": "Kernel",
                            "base_build_id": "ab",
                            "to_version": "4.19.0",
                        },
                    ],
                    "license_params": {
                        "restrict_live_patching": "false",
                        "restrict_updates": "true",
                        "edition": "premium",
                    },
                    "pending_guidances_recommended": [
                        "RebootHostOnXenLivePatchFailure"
                    ],
                    "prechecks": {"U1": {"livepatch_status": "ok_livepatch_complete"}},
                    "guests": [{"name": "g", "pending_guidances": ["RestartVM"]}],
                }
            ],
        }
    ],
}


def test_xapis_names_stand_for_the_same() -> None:
    (one,) = convert(XAPIS["updates"], tuple[Update, ...])
    assert one.livepatches[0].component == "xen"
    assert str(one.livepatches[0].base) == "4.17.4-1"
    assert str(one.livepatches[0].to) == "4.17.4-6"
    (condition,) = one.applicabilities
    assert (condition.architecture, str(condition.version)) == ("x86_64", "4.17.4-6")
    assert one.guidance == {Level.RECOMMENDED: ("RebootHost",), Level.MANDATORY: ()}
    (state,) = convert(XAPIS["fleet"], tuple[PoolState, ...])
    assert state.live_patching is True
    (seen,) = state.hosts
    assert seen.running == (
        RunningComponent("xen", "0fb0"),
        RunningComponent("kernel", "ab", half_known=True),
    )
    assert seen.features == {"live_patching": True, "updates": False}
    assert seen.pending.recommended == (Task.REBOOT_ON_XEN_LIVEPATCH_FAILURE,)
    assert seen.prechecks["U1"].status is LivepatchStatus.COMPLETE
    assert seen.guests
    assert seen.guests[0].pending.mandatory == (Task.RESTART_VM,)
    (plan,) = asked("plan.decide", **XAPIS)["pools"][0]["hosts"]
    assert [one["component"] for one in plan["apply"]] == ["xen"]
    assert plan["needs_reboot"] is True


@pytest.mark.parametrize(
    ("kind", "raw", "words"),
    [
        (
            PoolState,
            {"live_patching": True, "live_patching_disabled": False},
            "p: live_patching is there in two spellings",
        ),
        (
            HostState,
            {"pending": {}, "pending_guidances": []},
            "p: pending is there in two spellings",
        ),
        (LivePatch, {"base_versoin": "1"}, "p.base_versoin is not known"),
        (Version, {"version": "1", "rel": "1"}, "p.rel is not known"),
    ],
)
def test_what_is_said_twice_or_misspelt_is_refused(kind, raw, words) -> None:
    with pytest.raises(ValueError, match=f"^{words}$"):
        convert(raw, kind, "p")


def test_a_rule_has_to_exist() -> None:
    with pytest.raises(NotFoundError, match=r"guidance\.reduce"):
        ask("guidance.reduce", b"{}")


def test_equal_values_have_equal_digests_wherever_they_come_from() -> None:
    read = [convert(wire.plain(one), Update) for one in UPDATES]
    sparse = {
        "name": "p",
        "hosts": [{"name": "h", "features": {"live_patching": True}}],
    }
    made = PoolState("p", (HostState("h", features={"live_patching": True}),))
    assert decide(read, [convert(sparse, PoolState)]) == decide(UPDATES, [made])


@dataclass(frozen=True)
class Box:
    one: int = 1
    some: frozenset[str] = field(default_factory=frozenset)


def test_json_has_every_field_and_one_order() -> None:
    read = convert({}, Box)
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
    described = said("plan.decide")
    assert "It answers: FleetPlan" in described
    assert "    no_action_required: bool (in answers)" in described
    assert "one of ok_livepatch_complete, ok_livepatch_incomplete, ok" in described
    assert run(["rule", "nothing"]) == 4
    assert run(["rule", "--json"]) == 2


def test_many_questions_at_once(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from lpengine.cli import run

    questions = tmp_path / "questions"
    good = '{"rule": "guidance.published", "arguments": {"word": "RestartVM"}}\n'
    questions.write_text(f"{good}\n{good}")
    assert run(["rule", "--batch", str(questions)]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(row["line"], row["answer"]) for row in rows] == [
        (1, "restart_vm"),
        (3, "restart_vm"),
    ]
    questions.write_text(f'{{"rule": "nothing"}}\n{good}nonsense\n{{"rle": 1}}\n')
    assert run(["rule", "--batch", str(questions)]) == 13
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [bool(row["error"]) for row in rows] == [True, False, True, True]
    assert {row["schema"] for row in rows} == {"lpengine/rule-answer/1"}
    assert run(["rule", "guidance.reduced", "--batch", str(questions)]) == 2

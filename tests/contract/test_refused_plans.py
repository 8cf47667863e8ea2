"""`lpengine plan` of a payload that breaks one rule: the cause by name, with code,
evidence and the way out, a documented exit code, and a target left alone."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lpengine.cli import run
from lpengine.planner import CATALOGUE, Policy, Severity, plan_apply
from tests.contract.subject import Subject
from tests.payloads import BROKEN, DEFECTIVE, good_payload

REFUSED, REJECTED = 10, 13
CASES = {**BROKEN, **DEFECTIVE}

# The hypervisor at hand takes it; see the test of versions below.
TOLERATED = {"readonly-funcs"}


@pytest.fixture
def plan_of(
    subject: Subject, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[[bytes], dict]:
    """`lpengine plan --json` of a payload: the document, and "exit"."""

    def plan(raw: bytes) -> dict:
        path = tmp_path / "broken.livepatch"
        path.write_bytes(raw)
        before = (subject.target.facts(), subject.memory())
        code = run(["plan", str(path), "--target", subject.target.name, "--json"])
        assert (subject.reopen().facts(), subject.memory()) == before
        return {**json.loads(capfd.readouterr().out), "exit": code}

    return plan


@pytest.mark.parametrize("cause", sorted(set(CASES) - TOLERATED))
def test_a_broken_payload_is_refused_by_name(
    plan_of: Callable[[bytes], dict], cause: str
) -> None:
    document = plan_of(CASES[cause](good_payload()))
    assert document["exit"] in (REFUSED, REJECTED)
    assert document["verdict"] == "refused"
    assert document["steps"] == []
    found = {f["cause"]: f for f in document["findings"] if f["severity"] == "block"}
    assert cause in found
    assert found[cause]["code"] in CATALOGUE
    assert found[cause]["observed"]
    assert found[cause]["remedy"]


@pytest.mark.parametrize(
    ("version", "severity"),
    [
        ("4.17.1", Severity.BLOCK),
        ("4.17.2", Severity.BLOCK),
        ("4.17.7", Severity.WARN),
        ("", Severity.BLOCK),
    ],
)
def test_readonly_records_are_refused_where_they_kill(
    subject: Subject, version: str, severity: Severity
) -> None:
    patch = subject.payload(
        "a", subject.returning("xen_major_version", 5), funcs_writable=False
    )
    facts = subject.target.facts([patch])
    facts = replace(facts, image=replace(facts.image, version=version))
    plan = plan_apply([patch], facts, Policy())
    [finding] = [f for f in plan.findings if f.cause == "readonly-funcs"]
    assert finding.severity is severity

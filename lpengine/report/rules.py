"""A rule about updates, for people and as JSON."""

import textwrap
from collections.abc import Iterator

import msgspec

from lpengine.planner.updates.rulebook import RULES, Rule
from lpengine.report.rule_types import described, named
from lpengine.report.update_documents import (
    AnswerDocument,
    ArgumentRow,
    RuleDocument,
)


def rule_document(rule: Rule, answer: bytes | None) -> RuleDocument:
    return RuleDocument(
        schema="lpengine/rule/1",
        name=rule.name,
        source=rule.source,
        summary=rule.summary,
        arguments=[
            ArgumentRow(
                name=one.name,
                required=one.required,
                type=msgspec.json.schema(one.kind),
            )
            for one in rule.arguments
        ],
        returns=msgspec.json.schema(rule.returns),
        answer=None if answer is None else msgspec.Raw(answer),
    )


def rule_rows() -> Iterator[tuple[str, str]]:
    for rule in RULES.values():
        yield rule.name, rule.headline


def rule_lines(rule: Rule) -> Iterator[str]:
    yield rule.name
    yield from textwrap.wrap(
        rule.summary, 88, initial_indent="  ", subsequent_indent="  "
    )
    yield f"  From {rule.source}."
    yield "  It takes a JSON object of"
    for one in rule.arguments:
        optional = "" if one.required else " (may be left out)"
        yield f"    {one.name}: {named(one.kind)}{optional}"
    yield f"  It answers: {named(rule.returns)}"
    yield from described([*(one.kind for one in rule.arguments), rule.returns])


def answer_row(number: int, name: str, answer: bytes) -> AnswerDocument:
    return AnswerDocument(
        schema="lpengine/rule-answer/1",
        line=number,
        rule=name,
        answer=msgspec.Raw(answer),
        error="",
    )


def error_row(number: int, name: str, error: str) -> AnswerDocument:
    return AnswerDocument(
        schema="lpengine/rule-answer/1",
        line=number,
        rule=name,
        answer=None,
        error=error,
    )

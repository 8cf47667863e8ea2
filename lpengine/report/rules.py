"""A rule about updates, for people and as JSON."""

import textwrap
import typing
from collections.abc import Iterator
from typing import Any

import msgspec

from lpengine.planner.updates.rulebook import RULES, Rule
from lpengine.report.update_documents import ArgumentRow, RuleDocument


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


def named(kind: Any) -> str:
    """A type as whoever writes JSON sees it."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and inner[-1] is ...:
        return f"list of {named(inner[0])}"
    if origin is tuple:
        return f"[{', '.join(map(named, inner))}]"
    if origin is dict:
        return f"object of {named(inner[1])} by {named(inner[0])}"
    if inner:
        return " or ".join(map(named, inner))
    return "null" if kind is type(None) else str(kind.__name__)

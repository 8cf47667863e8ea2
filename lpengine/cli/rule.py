"""lpengine rule"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from lpengine.api.collector import uncollected
from lpengine.cli import exits
from lpengine.cli.options import JSON
from lpengine.errors import InputError, LpengineError
from lpengine.package.files import read_small
from lpengine.planner.updates.rulebook import ask, find, question
from lpengine.report.documents import to_json, to_line
from lpengine.report.rules import (
    answer_row,
    error_row,
    rule_document,
    rule_lines,
    rule_rows,
)
from lpengine.report.table import show, show_table
from lpengine.report.update_documents import AnswerDocument

_LARGEST = 1 << 30


@click.command("rule")
@click.argument("name", required=False)
@click.option(
    "--ask",
    "arguments",
    metavar="FILE",
    help="A JSON object with the rule's arguments; - for standard input.",
)
@click.option(
    "--batch",
    "questions",
    metavar="FILE",
    help='Many questions, one a line: {"rule": NAME, "arguments": {...}}; - for '
    "standard input. Each is answered by a line of JSON.",
)
@JSON
def command(
    name: str | None, arguments: str | None, questions: str | None, as_json: bool
) -> int:
    """Ask one of the rules by which updates are planned: which live patch a host gets,
    which tasks remain, what a precheck says. Changes nothing and looks at no host.

    Without NAME, list the rules; without --ask, say what the rule takes and answers,
    and what the values are made of. The rule plan.decide is the whole planner:
    updates, pools and hosts in, plans out. XAPI's own names are understood, too
    (docs/planning.md).

    Exit code 13: a question that the rule does not take, of --batch any.
    """
    if questions is not None:
        if name or arguments or as_json:
            raise click.UsageError("--batch stands by itself")
        return answer_all(text_of(questions))
    if name is None:
        if as_json or arguments:
            raise click.UsageError("give NAME")
        show_table(("RULE", "SAYS"), rule_rows())
        return exits.DONE
    rule = find(name)
    answer = None
    if arguments is not None:
        with uncollected():
            answer = ask(name, text_of(arguments))
    if as_json:
        show([to_json(rule_document(rule, answer))])
    elif answer is None:
        show(rule_lines(rule))
    else:
        show([answer.decode()])
    return exits.DONE


def text_of(arguments: str) -> bytes:
    if arguments == "-":
        return sys.stdin.buffer.read(_LARGEST)
    return read_small(Path(arguments), _LARGEST)


def answer_all(questions: bytes) -> int:
    wrong = False
    for row in answers(questions):
        wrong |= bool(row.error)
        show([to_line(row)])
    return InputError.exit_code if wrong else exits.DONE


def answers(questions: bytes) -> Iterator[AnswerDocument]:
    for number, line in enumerate(questions.splitlines(), start=1):
        if not line.strip():
            continue
        name = ""
        try:
            asked = question(line)
            name = asked.rule
            yield answer_row(number, name, ask(name, bytes(asked.arguments)))
        except LpengineError as error:
            yield error_row(number, name, error.message)

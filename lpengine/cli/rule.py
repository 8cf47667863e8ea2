"""lpengine rule"""

import sys
from pathlib import Path

import click

from lpengine.cli.options import JSON
from lpengine.package.files import read_small
from lpengine.planner.updates.rulebook import ask, find
from lpengine.report.documents import to_json
from lpengine.report.rules import rule_document, rule_lines, rule_rows
from lpengine.report.table import show, show_table

_LARGEST = 1 << 30


@click.command("rule")
@click.argument("name", required=False)
@click.option(
    "--ask",
    "arguments",
    metavar="FILE",
    help="A JSON object with the rule's arguments; - for standard input.",
)
@JSON
def command(name: str | None, arguments: str | None, as_json: bool) -> int:
    """Ask one of the rules by which updates are planned: which live patch a host gets,
    which tasks remain, what a precheck says. Changes nothing and looks at no host.

    Without NAME, list the rules; without --ask, say what the rule takes. The rule
    plan.decide is the whole planner: updates, pools and hosts in, plans out.
    """
    if name is None:
        if as_json or arguments:
            raise click.UsageError("give NAME")
        show_table(("RULE", "SAYS"), rule_rows())
        return 0
    rule = find(name)
    answer = None if arguments is None else ask(name, text_of(arguments))
    if as_json:
        show([to_json(rule_document(rule, answer))])
    elif answer is None:
        show(rule_lines(rule))
    else:
        show([answer.decode()])
    return 0


def text_of(arguments: str) -> bytes:
    if arguments == "-":
        return sys.stdin.buffer.read(_LARGEST)
    return read_small(Path(arguments), _LARGEST)

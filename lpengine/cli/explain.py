"""lpengine explain"""

import json

import click

from lpengine.cli.options import JSON
from lpengine.planner import CATALOGUE, explain
from lpengine.report import module_shapes as shapes
from lpengine.report import module_text as text
from lpengine.report.documents import schemas, to_json
from lpengine.report.table import show, show_table


@click.command("explain")
@click.argument("code", required=False)
@click.option(
    "--json-schema",
    is_flag=True,
    help="Print the JSON Schema of every --json document.",
)
@JSON
def command(code: str | None, json_schema: bool, as_json: bool) -> int:
    """Explain the finding CODE (LP-SHP-171 or FUNCTION_TOO_SHORT): what it means,
    how it is found, what to do. Without CODE, list them all."""
    if json_schema:
        show([json.dumps(schemas(), indent=2)])
        return 0
    if code is None:
        if as_json:
            raise click.UsageError("--json needs a CODE")
        rows = ((c.code, c.name, c.summary) for c in CATALOGUE.values())
        show_table(("CODE", "NAME", "MEANING"), rows)
        return 0
    entry = explain(code)
    if as_json:
        show([to_json(shapes.explain_document(entry))])
    else:
        show(text.explain_lines(entry))
    return 0

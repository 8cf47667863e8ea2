"""lpengine inspect"""

from pathlib import Path

import click

from lpengine.api import modules as api
from lpengine.cli.exits import DONE, REJECTED
from lpengine.cli.options import JSON, PAYLOAD
from lpengine.report import module_shapes as shapes
from lpengine.report import module_text as text
from lpengine.report.documents import to_json
from lpengine.report.table import show, show_table


@click.command("inspect")
@PAYLOAD
@JSON
def command(payload: Path, as_json: bool) -> int:
    """Show what MODULE holds: functions, sizes, relocations, notes, hooks, the
    symbols it needs and brings, and the code it puts in place.

    Looks at the file alone and needs no target. Exit code 13 where the module
    breaks a rule of its format.
    """
    inspection = api.inspect(payload)
    if as_json:
        show([to_json(shapes.inspect_document(inspection))])
    else:
        show(text.inspection_lines(inspection))
        show([""])
        sections = text.section_rows(inspection)
        show_table(("SECTION", "SIZE", "ALIGN", "FLAGS"), sections)
        show([""])
        relocations = text.relocation_rows(inspection)
        show_table(("IN", "OFFSET", "TYPE", "SYMBOL", "ADDEND"), relocations)
    return REJECTED if inspection.patch.violations else DONE

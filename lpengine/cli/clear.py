"""lpengine clear"""

import click

from lpengine.api import hosts as api
from lpengine.cli import host_verdicts
from lpengine.cli.host_options import here
from lpengine.cli.options import JSON
from lpengine.cli.remote import RemoteCommand
from lpengine.package.model import Task
from lpengine.report import host_shapes as shapes
from lpengine.report import host_text as text
from lpengine.report.documents import to_json
from lpengine.report.table import show

TASKS = (Task.RESTART_TOOLSTACK, Task.RESTART_PROCESS)


@click.command("clear", cls=RemoteCommand)
@click.argument(
    "tasks",
    nargs=-1,
    required=True,
    type=click.Choice([task.value for task in TASKS]),
    metavar="TASK...",
)
@here
@JSON
def command(tasks: tuple[str, ...], here: api.Here, as_json: bool) -> int:
    """Say that restart_toolstack or restart_process was done; for an ExecStartPost= of
    the toolstack's unit, or by hand. A reboot is noticed by itself."""
    status = api.clear([Task(task) for task in tasks], here)
    if as_json:
        show([to_json(shapes.status_document(status))])
    else:
        show(text.status_end(status))
    return host_verdicts.of_status(status)

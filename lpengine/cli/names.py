"""NAME... or --all, for the verbs that act on loaded patches."""

import click

from lpengine.cli.options import Decorator

EVERYTHING: Decorator = click.option(
    "--all", "everything", is_flag=True, help="All of them, in the order that works."
)


def check_names(names: tuple[str, ...], everything: bool) -> None:
    """click.UsageError unless exactly one of NAME... and --all was given."""
    if bool(names) == everything:
        raise click.UsageError("give NAME... or --all, not both and not neither")

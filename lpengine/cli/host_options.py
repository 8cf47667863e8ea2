"""Options of the verbs on this host as a whole."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from lpengine.api.hosts import Here, Trust
from lpengine.cli.options import SIGNERS, Decorator, parse_pairs
from lpengine.planner.updates.state import Mode

PATH = click.Path(path_type=Path)

_HERE: tuple[Decorator, ...] = (
    click.option(
        "--root",
        type=PATH,
        default="/",
        show_default=True,
        help="Where the host's files are: the disk half goes below it. A tree of files "
        "has only the targets that it is given.",
    ),
    click.option(
        "--config",
        type=PATH,
        help="By default etc/lpengine/host.toml below the root, if it exists.",
    ),
    click.option(
        "--component",
        "components",
        multiple=True,
        metavar="NAME=TARGET",
        help="The target of a component that host.toml does not name: "
        "xen=emulated:DIR. May be repeated.",
    ),
)
_TRUST: tuple[Decorator, ...] = (
    *SIGNERS,
    click.option("--identity", default="", metavar="WHO", help="It must be by WHO."),
)

MODE: Decorator = click.option(
    "--mode",
    type=click.Choice([each.value for each in Mode]),
    default=Mode.MANUAL.value,
    show_default=True,
    help="Who carries out the tasks that remain: you, or lpengine, by the commands in "
    "host.toml.",
)


def here(function: Callable[..., Any]) -> Callable[..., Any]:
    """Calls it with `here`."""

    @wraps(function)
    def with_here(
        *arguments: Any,
        root: Path,
        config: Path | None,
        components: tuple[str, ...],
        **others: Any,
    ) -> Any:
        targets = dict(parse_pairs(components, "--component"))
        return function(*arguments, here=Here(root, config, targets), **others)

    return _decorated(with_here, _HERE)


def trust(function: Callable[..., Any]) -> Callable[..., Any]:
    """Calls it with `trust`."""

    @wraps(function)
    def with_trust(
        *arguments: Any,
        signers: Path | None,
        revoked: Path | None,
        identity: str,
        **others: Any,
    ) -> Any:
        chosen = Trust(signers, revoked, identity)
        return function(*arguments, trust=chosen, **others)

    return _decorated(with_trust, _TRUST)


def _decorated(
    function: Callable[..., Any], options: tuple[Decorator, ...]
) -> Callable[..., Any]:
    for option in reversed(options):
        function = option(function)
    return function

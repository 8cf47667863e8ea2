"""Options of the verbs over pools, and what becomes of them."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from lpengine.api.pools import Wanted
from lpengine.cli.options import SIGNERS, Decorator
from lpengine.package.model import Level
from lpengine.planner.updates.state import LivePatching, UpdatePolicy

LEVELS = (Level.MANDATORY, Level.RECOMMENDED, Level.FULL)
PATH = click.Path(path_type=Path)

BUNDLES: Decorator = click.argument("bundles", nargs=-1, type=PATH, metavar="BUNDLE...")

_WANTED = (
    click.option(
        "--pools",
        "pools_file",
        type=PATH,
        envvar="LPENGINE_POOLS",
        show_envvar=True,
        help="Which pools there are; by default /etc/lpengine/pool.toml.",
    ),
    click.option(
        "--pool",
        "pools",
        multiple=True,
        metavar="NAME",
        help="This pool only; may be repeated.",
    ),
    click.option(
        "--host",
        "hosts",
        multiple=True,
        metavar="NAME",
        help="This host only; may be repeated.",
    ),
)
_POLICY = (
    click.option(
        "--live-patching",
        type=click.Choice([each.value for each in LivePatching]),
        default=LivePatching.AUTOMATIC.value,
        show_default=True,
        help="Never, where it is possible, or refuse where a reboot would remain.",
    ),
    click.option(
        "--level",
        type=click.Choice([each.value for each in LEVELS]),
        default=Level.RECOMMENDED.value,
        show_default=True,
        help="The least binding tasks that are carried out.",
    ),
    click.option(
        "--retry-crashed",
        is_flag=True,
        help="Try live patches again that a host did not survive last time.",
    ),
    click.option(
        "--any-time", is_flag=True, help="Do not wait for maintenance windows."
    ),
)


def wanted(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which pools and hosts: one `wanted` argument."""
    return _gathered(command, "wanted", _make_wanted, _WANTED)


def wanted_and_signers(command: Callable[..., Any]) -> Callable[..., Any]:
    return _gathered(command, "wanted", _make_wanted, (*_WANTED, *SIGNERS))


def policy(command: Callable[..., Any]) -> Callable[..., Any]:
    """What the operator allows: one `policy` argument."""
    return _gathered(command, "policy", _make_policy, _POLICY)


def _gathered(
    command: Callable[..., Any],
    name: str,
    make: Callable[[dict[str, Any]], object],
    options: tuple[Decorator, ...],
) -> Callable[..., Any]:
    @wraps(command)
    def called(**arguments: Any) -> Any:
        arguments[name] = make(arguments)
        return command(**arguments)

    decorated: Callable[..., Any] = called
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def _make_wanted(arguments: dict[str, Any]) -> Wanted:
    return Wanted(
        arguments.pop("pools_file"),
        arguments.pop("pools"),
        arguments.pop("hosts"),
        arguments.pop("signers", None),
        arguments.pop("revoked", None),
    )


def _make_policy(arguments: dict[str, Any]) -> UpdatePolicy:
    return UpdatePolicy(
        live_patching=LivePatching(arguments.pop("live_patching")),
        level=Level(arguments.pop("level")),
        retry_crashed=arguments.pop("retry_crashed"),
        any_time=arguments.pop("any_time"),
    )

"""Options that several verbs share."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

JSON: Decorator = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON document (see docs/json.md).",
)


def target_option(required: bool = True) -> Decorator:
    return click.option(
        "--target",
        "target_uri",
        required=required,
        metavar="TARGET",
        envvar="LPENGINE_TARGET",
        show_envvar=True,
        help="Where the patch lives: emulated:DIR, linux, linux:VMLINUZ or xen.",
    )


TARGET: Decorator = target_option()

PAYLOADS: Decorator = click.argument(
    "payloads",
    nargs=-1,
    required=True,
    metavar="MODULE...",
    type=click.Path(path_type=Path),
)

PAYLOAD: Decorator = click.argument(
    "payload", metavar="MODULE", type=click.Path(path_type=Path)
)

NAMES: Decorator = click.argument("names", nargs=-1, metavar="NAME...")

NODEPS: Decorator = click.option(
    "--nodeps",
    is_flag=True,
    help="Do not require that .livepatch.depends names the top of the stack.",
)

FORCE: Decorator = click.option(
    "--force",
    is_flag=True,
    help="Linux: when the time is up, switch the tasks that have not left the old code "
    "all the same, instead of calling it off. The kernel may crash of it, and keeps a "
    "module that comes off so until the next boot.",
)

STRICT: Decorator = click.option(
    "--strict", is_flag=True, help="Treat warnings as reasons to stop (exit code 11)."
)

LIVE_PATCHING: Decorator = click.option(
    "--live-patching/--no-live-patching",
    default=True,
    show_default=True,
    help="Whether policy allows live patches here; without, the plan says reboot.",
)


def _timeout(
    _: click.Context, __: click.Parameter, milliseconds: float | None
) -> timedelta | None:
    return None if milliseconds is None else timedelta(milliseconds=milliseconds)


TIMEOUT: Decorator = click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    metavar="MS",
    callback=_timeout,
    help="How long to wait for CPUs and tasks to leave the functions, in "
    "milliseconds; by default what the target needs (1 s, Linux: 30 s).",
)

DRY_RUN: Decorator = click.option(
    "--dry-run", is_flag=True, help="Plan only; the same as the verb `plan`."
)


# Whom the verbs that act trust; `bundle verify` says more about it.
SIGNERS: tuple[Decorator, ...] = (
    click.option(
        "--signers",
        type=click.Path(path_type=Path),
        help="Who may sign updates, as ssh-keygen -Y verify takes it; by default "
        "/etc/lpengine/allowed_signers.",
    ),
    click.option(
        "--revoked",
        type=click.Path(path_type=Path),
        help="Keys that may not; by default /etc/lpengine/revoked_keys, if it exists.",
    ),
)


def parse_pairs(values: tuple[str, ...], option: str) -> tuple[tuple[str, str], ...]:
    """KEY=VALUE options as pairs; click.BadParameter where the = is missing."""
    pairs = []
    for value in values:
        key, equals, rest = value.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE", param_hint=option)
        pairs.append((key, rest))
    return tuple(pairs)

"""A verb carried to another machine, its files with it."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import click
from click.core import ParameterSource

from lpengine.hosts import HostError, open_host
from lpengine.hosts.copies import copied

_PROGRAM = "lpengine"
_NO_SUCH_PROGRAM = 127
_TIMEOUT = timedelta(hours=1)

# Parameters whose files are read here and copied there.
_FILES = ("payloads", "payload", "plan_file", "bundles", "signers", "revoked")


def forward(uri: str, line: Sequence[str], ctx: click.Context) -> int:
    """Run the verb, with its arguments, on that host; its output and status are
    ours."""
    host = open_host(uri)
    words = [*without_host(line), *from_environment(ctx)]
    with copied(host, files_of(ctx)) as copies:
        argv = [_PROGRAM, *(copies.get(Path(word), word) for word in words)]
        done = host.run(argv, timeout=_TIMEOUT)
    if done.status == _NO_SUCH_PROGRAM:
        raise HostError(
            f"{host.name}: there is no {_PROGRAM}", hint=f"install {_PROGRAM} there"
        )
    click.echo(done.stderr, nl=False, err=True)
    click.echo(done.stdout, nl=False)
    return done.status


def without_host(arguments: Sequence[str]) -> list[str]:
    """The arguments as they are for the far side."""
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--host":
            next(rest)
        elif argument == "--":
            kept += [argument, *rest]
        elif not argument.startswith("--host="):
            kept.append(argument)
    return kept


def from_environment(ctx: click.Context) -> list[str]:
    """Options that our environment gives; the far side's is another one."""
    if ctx.get_parameter_source("target_uri") is ParameterSource.ENVIRONMENT:
        return ["--target", str(ctx.params["target_uri"])]
    return []


def files_of(ctx: click.Context) -> list[Path]:
    found: list[Path] = []
    for name in _FILES:
        value = ctx.params.get(name)
        if value is not None:
            found += value if isinstance(value, tuple) else [value]
    return found

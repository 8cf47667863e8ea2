"""The same command line on another machine: what --host does."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from lpengine.errors import NotFoundError, UsageError
from lpengine.hosts import Host, HostError, open_host

_PROGRAM = "lpengine"
_NO_SUCH_PROGRAM = 127
_TIMEOUT = timedelta(hours=1)
_ARGUMENTS, _HOST = "lpengine.arguments", "lpengine.host"

# Parameters whose files are read here and copied there.
_FILES = ("payloads", "payload", "plan_file")


class RemoteCommand(click.Command):
    """A verb that works on this machine, or with --host on another one, which must
    have lpengine. Modules are copied there for as long as it takes."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        option = click.Option(
            ["--host"],
            default="local",
            metavar="HOST",
            envvar="LPENGINE_HOST",
            show_envvar=True,
            expose_value=False,
            callback=_remember,
            help="Where TARGET is: ssh://user@host, qemu:NAME (see `lpengine lab`).",
        )
        self.params.insert(_before_json(self.params), option)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        uri = ctx.meta[_HOST]
        if uri == "local":
            return super().invoke(ctx)
        return forward(open_host(uri), self.name or "", ctx)


def _before_json(params: Sequence[click.Parameter]) -> int:
    names = [param.name for param in params]
    return names.index("as_json") if "as_json" in names else len(names)


def _remember(ctx: click.Context, _: click.Parameter, uri: str) -> None:
    ctx.meta[_HOST] = uri


def forward(host: Host, verb: str, ctx: click.Context) -> int:
    """Run the verb on the host; its output and status are ours."""
    arguments = [*without_host(ctx.meta[_ARGUMENTS]), *from_environment(ctx)]
    with copied(host, files_of(ctx)) as copies:
        argv = [_PROGRAM, verb, *(copies.get(Path(a), a) for a in arguments)]
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


@contextmanager
def copied(host: Host, files: Sequence[Path]) -> Iterator[dict[Path, str]]:
    """Where each file is on the host; gone again at the end. A module keeps its file
    name, which may be its patch's name."""
    if not files:
        yield {}
        return
    directory = _checked(host, ["mktemp", "-d"])
    try:
        copies = {}
        for number, path in enumerate(dict.fromkeys(files)):
            _checked(host, ["mkdir", f"{directory}/{number}"])
            copies[path] = f"{directory}/{number}/{path.name}"
            host.write(copies[path], read(path))
        yield copies
    finally:
        host.run(["rm", "-rf", directory])


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file") from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _checked(host: Host, argv: Sequence[str]) -> str:
    done = host.run(argv)
    if done.status:
        said = done.stderr.decode(errors="replace").strip()
        raise HostError(f"{host.name}: {said or f'{argv[0]} failed'}")
    return done.stdout.decode().strip()

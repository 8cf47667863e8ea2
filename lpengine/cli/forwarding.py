"""A verb carried to another machine, its files with it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import click
from click.core import ParameterSource

from lpengine.errors import NotFoundError, UsageError
from lpengine.hosts import Host, HostError, open_host

_PROGRAM = "lpengine"
_NO_SUCH_PROGRAM = 127
_TIMEOUT = timedelta(hours=1)

# Parameters whose files are read here and copied there.
_FILES = ("payloads", "payload", "plan_file")


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


@contextmanager
def copied(host: Host, files: Sequence[Path]) -> Iterator[dict[Path, str]]:
    """Where each file is on the host: where it is here, if the host has the same
    there, else copies that are gone again at the end. A module keeps its file name,
    which may be its patch's name."""
    contents = {path: read(path) for path in files}
    there = {
        path: str(path.absolute())
        for path, content in contents.items()
        if is_there(host, path, content)
    }
    missing = [path for path in contents if path not in there]
    if not missing:
        yield there
        return
    directory = _checked(host, ["mktemp", "-d"])
    try:
        for number, path in enumerate(missing):
            _checked(host, ["mkdir", f"{directory}/{number}"])
            there[path] = f"{directory}/{number}/{path.name}"
            host.write(there[path], contents[path])
        yield there
    finally:
        host.run(["rm", "-rf", directory])


def is_there(host: Host, path: Path, content: bytes) -> bool:
    """Where a host shows our files, what was written lately may be missing."""
    if not host.sees_our_files:
        return False
    try:
        return host.read(str(path.absolute())) == content
    except NotFoundError:
        return False


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

"""Files of this machine on another one, for as long as they are needed there."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lpengine.errors import NotFoundError, UsageError
from lpengine.hosts.base import Host, HostError


@contextmanager
def copied(host: Host, files: Sequence[Path]) -> Iterator[dict[Path, str]]:
    """Where each file is on the host: where it is here, if the host has the same
    there, else copies that are gone again at the end. A file keeps its name,
    which may mean something."""
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

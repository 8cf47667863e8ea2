"""Machines one can reach, and how each is named."""

from lpengine.errors import UsageError
from lpengine.hosts.base import DEFAULT_TIMEOUT, Completed, Host, HostError
from lpengine.hosts.lab import check_name, find
from lpengine.hosts.local import LocalHost
from lpengine.hosts.ssh import SshHost, destination

__all__ = [
    "DEFAULT_TIMEOUT",
    "Completed",
    "Host",
    "HostError",
    "LocalHost",
    "SshHost",
    "check_uri",
    "open_host",
]


def check_uri(uri: str) -> None:
    """`UsageError` for what `open_host` would not take, whether or not it is there."""
    scheme, _, rest = uri.partition(":")
    if scheme == "ssh":
        destination(uri)
    elif scheme == "qemu" and rest:
        check_name(rest)
    elif uri != "local":
        raise not_a_host(uri)


def open_host(uri: str) -> Host:
    """ "local", "ssh://user@host[:port]", or "qemu:NAME" for a running guest of the
    lab. `UsageError` for anything else, `NotFoundError` for a guest that there is
    not; whether a machine answers shows when it is asked something."""
    if uri == "local":
        return LocalHost()
    scheme, _, rest = uri.partition(":")
    if scheme == "ssh":
        return SshHost(uri)
    if scheme == "qemu" and rest:
        return find(rest)
    raise not_a_host(uri)


def not_a_host(uri: str) -> UsageError:
    return UsageError(
        f"{uri}: not a host", hint="hosts are local, ssh://user@host, qemu:NAME"
    )

"""Machines one can reach, and how each is named."""

from lpengine.hosts.base import DEFAULT_TIMEOUT, Completed, Host, HostError

__all__ = ["DEFAULT_TIMEOUT", "Completed", "Host", "HostError"]

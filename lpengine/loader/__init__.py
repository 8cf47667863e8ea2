"""Puts a patch into a machine and takes it back, by the hypervisor's rules."""

from lpengine.loader.loader import Loader
from lpengine.loader.names import Names, Place
from lpengine.loader.stack import Loaded, LoadedFunction, LoadedSymbol, Stack

__all__ = [
    "Loaded",
    "LoadedFunction",
    "LoadedSymbol",
    "Loader",
    "Names",
    "Place",
    "Stack",
]

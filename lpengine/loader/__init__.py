"""Puts a patch into a machine and takes it back, by the hypervisor's rules."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lpengine.loader.loader import Loader
    from lpengine.loader.names import Names, Place
    from lpengine.loader.stack import Loaded, LoadedFunction, LoadedSymbol, Stack

# Imported when first used: real targets need this room's names and nothing of a
# machine.
_MODULES = {
    "Loaded": "stack",
    "LoadedFunction": "stack",
    "LoadedSymbol": "stack",
    "Loader": "loader",
    "Names": "names",
    "Place": "names",
    "Stack": "stack",
}

__all__ = [
    "Loaded",
    "LoadedFunction",
    "LoadedSymbol",
    "Loader",
    "Names",
    "Place",
    "Stack",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

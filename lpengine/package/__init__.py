"""Updates: live patches for memory, files for the disk, and guidance for after.

`open_update(path)` reads one, `write_bundle(update, contents, path)` makes one, and
`read_updates(path)` takes whatever describes updates. The names are loaded when first
used: the model alone needs neither zstd nor ciphers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lpengine.package.bundle import Bundle, open_update
    from lpengine.package.contents import content_of
    from lpengine.package.metadata import read_updates
    from lpengine.package.writer import write_bundle

_EXPORTS = {
    "Bundle": "lpengine.package.bundle",
    "content_of": "lpengine.package.contents",
    "open_update": "lpengine.package.bundle",
    "read_updates": "lpengine.package.metadata",
    "write_bundle": "lpengine.package.writer",
}

__all__ = ["Bundle", "content_of", "open_update", "read_updates", "write_bundle"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'lpengine.package' has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value

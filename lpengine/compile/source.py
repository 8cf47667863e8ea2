"""Builds a tree as it is and with a fix, and hands over the objects that differ in
their making."""

import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from lpengine.command import package_of, run
from lpengine.compile import cache
from lpengine.compile.applying import Applied, fit
from lpengine.compile.digests import digests
from lpengine.compile.events import (
    BaseBegun,
    BaseReady,
    FixBegun,
    FixBuilt,
    Notify,
    unheard,
)
from lpengine.compile.fix import Fix
from lpengine.compile.tree import ObjectPair, Settings, Tree
from lpengine.errors import NotFoundError

# What is in a key besides the inputs: raised when the way of building changes.
_RECIPE = "1"


@dataclass(frozen=True)
class SourceBuild:
    """A tree built twice. The paths in it hold for as long as the build is open.

    `base` is the built original, `objects` what may be part of the image in it.
    `notes` are for the author, a sentence each.
    """

    base: Path
    pairs: tuple[ObjectPair, ...]
    objects: Mapping[str, Path]
    applied: Applied
    configuration: str
    notes: tuple[str, ...] = field(default=())


@contextmanager
def built(
    tree: Tree, fixes: Sequence[Fix], settings: Settings, notify: Notify = unheard
) -> Iterator[SourceBuild]:
    """Build `tree` without the fixes, or take that from the cache, then with them.

    The tree itself is only read. Raises InputError for a fix that does not fit or a
    tree that does not build, NotFoundError for what is not installed, LockedError
    while another lpengine works on the same base.
    """
    require(tree.programs)
    settings = _configured(tree, settings)
    names = tree.sources()
    # Before the base is built, which takes minutes.
    fitted = fit(tree.root, fixes, concerns=tree.concerns, inner=tree.inner)
    with cache.slot(base_key(tree, names, settings), f"building {tree.root}") as slot:
        _make_base(tree, names, settings, slot, notify)
        tree.copy(slot.base, slot.work)
        applied = fitted.write(slot.work, tree.keeps_numbers)
        notify(FixBegun(applied.files))
        begun = time.monotonic()
        pairs = tuple(
            tree.rebuild(slot.base, slot.work, applied, settings, notify)
            if applied.files
            else ()
        )
        notify(FixBuilt(len(pairs), time.monotonic() - begun))
        yield SourceBuild(
            base=slot.base,
            pairs=pairs,
            objects=tree.objects(slot.base),
            applied=applied,
            configuration=settings.origin,
            notes=applied.notes,
        )


def require(programs: Sequence[str]) -> None:
    missing = [each for each in programs if shutil.which(each) is None]
    if missing:
        raise NotFoundError(
            f"{', '.join(missing)}: not installed, and needed to build the tree",
            hint=f"apt install {' '.join(map(package_of, missing))}",
        )


def base_key(tree: Tree, names: Sequence[str], settings: Settings) -> str:
    """Names a base: by the contents of the sources, not by where they lie."""
    key = hashlib.sha256()
    inputs = (_RECIPE, tree.format, settings.toolchain.identity)
    for text in (*inputs, *map("=".join, sorted(settings.variables.items()))):
        key.update(text.encode() + b"\0")
    key.update(b"\n".join(_choices(settings.configuration)) + b"\0")
    with digests(tree.root) as known:
        for name in names:
            path = tree.root / name
            key.update(f"{name}\0{path.lstat().st_mode & 0o170100:o}\0".encode())
            if path.is_symlink():
                key.update(str(path.readlink()).encode())
            else:
                key.update(known.of(path, name).encode())
    return f"{tree.format}-{key.hexdigest()[:24]}"


def _choices(configuration: bytes) -> list[bytes]:
    """What a configuration says, without what it says of itself."""
    lines = configuration.splitlines()
    return [line for line in lines if line.startswith((b"CONFIG_", b"# CONFIG_"))]


def copy_files(root: Path, names: Sequence[str], to: Path) -> None:
    """The named files with modes and times; links stay links."""
    for directory in sorted({(to / name).parent for name in names}):
        directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy2(root / name, to / name, follow_symlinks=False)


def copy_built(base: Path, work: Path) -> None:
    """A whole directory with its times, which make goes by; shares the blocks where
    the file system can."""
    run(["cp", "-a", "--reflink=auto", str(base), str(work)], timeout=1200)


def _configured(tree: Tree, settings: Settings) -> Settings:
    if settings.configuration:
        return settings
    text, origin = tree.configuration()
    return replace(settings, configuration=text, origin=origin)


def _make_base(
    tree: Tree,
    names: Sequence[str],
    settings: Settings,
    slot: cache.Slot,
    notify: Notify,
) -> None:
    if slot.ready:
        slot.touch()
        notify(BaseReady(0.0, cached=True))
        return
    notify(BaseBegun(tree.root, settings.toolchain.description))
    begun = time.monotonic()
    copy_files(tree.root, names, slot.work)
    tree.build(slot.work, settings, notify)
    slot.keep(
        {
            "tree": str(tree.root),
            "format": tree.format,
            "compiler": settings.toolchain.description,
            "configuration": settings.origin,
        }
    )
    notify(BaseReady(time.monotonic() - begun, cached=False))

"""The verb that compares two builds of objects, and makes a module of what differs:
build objects."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lpengine.api.builds import build_id_of
from lpengine.diff.changes import System
from lpengine.diff.declared import require_hooks
from lpengine.diff.differ import Options
from lpengine.diff.linemap import LineMap, read_line_map
from lpengine.diff.pairing import pair_files, unpaired
from lpengine.diff.sets import diff_files
from lpengine.elf import open_image
from lpengine.errors import InputError, NotFoundError
from lpengine.patch.objects import ObjectsResult
from lpengine.patch.objects import build_objects as build


def build_objects(
    original: str | Path,
    patched: str | Path,
    *,
    image: str | Path | None = None,
    name: str = "",
    system: str = "",
    patches: Sequence[str | Path] = (),
    hooks: Mapping[str, str] | None = None,
    depends: str | Path | None = None,
    modinfo: Sequence[tuple[str, str]] = (),
    modules: Sequence[str | Path] = (),
    atomic_replace: bool = False,
    notify: Callable[[str], None] = lambda name: None,
) -> ObjectsResult:
    """Compare two objects, or two directories of them, and make a module for `image`
    of what differs, if one is given. `patches` are the source changes, which say
    which lines moved; `hooks` are declared to make up for subjects of refusals.

    `modules` are files and directories of a Linux kernel's modules, by default those
    beside the image."""
    options = Options(
        line_map=_line_map(patches),
        system=System(system) if system else None,
        hooks=hooks or {},
    )
    before, after = Path(original), Path(patched)
    pairs = pair_files(before, after)
    others = [open_image(path) for path in unpaired(before, after) if _is_read(path)]
    changes = diff_files(pairs, options, others, notify)
    require_hooks(changes, options.hooks)
    if image is None:
        return ObjectsResult(changes)
    wanted = {each.name for each in changes.changed}
    originals = {
        pair.name: pair.images()[0]
        for pair in pairs
        if pair.name in wanted and pair.original is not None
    }
    return build(
        changes,
        originals,
        Path(image),
        name=name or after.stem,
        depends=build_id_of(depends),
        modinfo=modinfo,
        modules=[Path(each) for each in modules],
        atomic_replace=atomic_replace,
    )


def _is_read(path: Path) -> bool:
    try:
        open_image(path)
    except InputError:
        return False
    return True


def _line_map(patches: Sequence[str | Path]) -> LineMap | None:
    if not patches:
        return None
    try:
        texts = [Path(each).read_text(errors="replace") for each in patches]
    except OSError as error:
        raise NotFoundError(f"{error.filename}: {error.strerror}") from error
    return read_line_map("\n".join(texts))

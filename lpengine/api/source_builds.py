"""The verb that makes a module of a source fix: build source."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lpengine.api.builds import build_id_of
from lpengine.compile import DEFAULT_COMPILER
from lpengine.compile.events import Notify, unheard
from lpengine.compile.fix import open_fix
from lpengine.compile.make import available_cpus
from lpengine.compile.recognise import open_tree
from lpengine.compile.toolchain import Toolchain
from lpengine.compile.tree import Settings
from lpengine.elf import open_image
from lpengine.errors import NotFoundError
from lpengine.patch.reader import load_patch
from lpengine.patch.source import SourceOptions, SourceResult
from lpengine.patch.source import build_source as build
from lpengine.patch.xen.source import XenMaker


def build_source(
    tree: str | Path,
    patches: Sequence[str | Path],
    image: str | Path,
    *,
    name: str,
    configuration: str | Path | None = None,
    compiler: str = DEFAULT_COMPILER,
    variables: Mapping[str, str] | None = None,
    modinfo: Sequence[tuple[str, str]] = (),
    depends: str | Path | None = None,
    replaces: Sequence[str | Path] = (),
    hooks: Mapping[str, str] | None = None,
    jobs: int = 0,
    notify: Notify = unheard,
) -> SourceResult:
    """Build a source tree with and without patches, and a module of the difference
    for `image`. The tree is only read. `configuration` is a file, by default the
    image's own; `variables` are make's; `jobs` 0 is one for each processor. `hooks`
    are declared to make up for subjects of refusals."""
    options = SourceOptions(
        name=name,
        modinfo=modinfo,
        depends=build_id_of(depends),
        replaces=[load_patch(Path(each)) for each in replaces],
        hooks=hooks or {},
    )
    return build(
        open_tree(Path(tree)),
        [open_fix(Path(each)) for each in patches],
        XenMaker(open_image(image), options),
        Settings(
            Toolchain(compiler),
            _read(configuration),
            str(configuration or ""),
            variables or {},
            jobs or available_cpus(),
        ),
        options,
        notify,
    )


def _read(configuration: str | Path | None) -> bytes:
    if configuration is None:
        return b""
    try:
        return Path(configuration).read_bytes()
    except OSError as error:
        raise NotFoundError(f"{configuration}: {error.strerror}") from error

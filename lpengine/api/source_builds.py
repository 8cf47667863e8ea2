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
from lpengine.compile.tree import Settings, Tree
from lpengine.elf import open_image
from lpengine.elf.kernel import is_kernel, open_kernel
from lpengine.errors import NotFoundError, UsageError
from lpengine.patch.linux.modules import Modules
from lpengine.patch.linux.source import LinuxMaker
from lpengine.patch.linux.unlike import require_kind
from lpengine.patch.reader import load_patch
from lpengine.patch.source import Maker, SourceOptions, SourceResult
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
    modules: Sequence[str | Path] = (),
    atomic_replace: bool = False,
    fan_out: int = 0,
    jobs: int = 0,
    notify: Notify = unheard,
) -> SourceResult:
    """Build a source tree with and without patches, and a module of the difference
    for `image`. The tree is only read. `configuration` is a file, by default the
    image's own; `variables` are make's; `jobs` 0 is one for each processor. `hooks`
    are declared to make up for subjects of refusals.

    Of Linux: `modules` are files and directories of the kernel's modules, by default
    those beside the image; `fan_out` is how many objects a fix may touch."""
    options = SourceOptions(
        name=name,
        modinfo=modinfo,
        depends=build_id_of(depends),
        replaces=[load_patch(Path(each)) for each in replaces],
        hooks=hooks or {},
    )
    opened = open_tree(Path(tree), fan_out)
    maker: Maker
    if is_kernel(image):
        _require(opened, "linux", depends or replaces, "what lies below it")
        kernel = open_kernel(image)
        require_kind(kernel, Toolchain(compiler))
        found = Modules(kernel, [Path(each) for each in modules])
        maker = LinuxMaker(kernel, found, options, atomic_replace=atomic_replace)
        # It is in the text of few objects, and made of more than the sources.
        variables = {"KERNELRELEASE": kernel.release, **(variables or {})}
    else:
        xen = open_image(image)
        _require(opened, "xen", modules or atomic_replace, "modules, atomic replace")
        maker = XenMaker(xen, options)
    return build(
        opened,
        [open_fix(Path(each)) for each in patches],
        maker,
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


def _require(tree: Tree, format: str, foreign: object, what: str) -> None:
    """UsageError for a tree of another system than the image, or options of one."""
    if tree.format != format:
        raise UsageError(
            f"{tree.root} is a tree for {tree.format}, the image is for {format}"
        )
    if foreign:
        raise UsageError(f"modules for {format} know nothing of {what}")


def _read(configuration: str | Path | None) -> bytes:
    if configuration is None:
        return b""
    try:
        return Path(configuration).read_bytes()
    except OSError as error:
        raise NotFoundError(f"{configuration}: {error.strerror}") from error

"""The verbs that make a module: build c, build asm."""

from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

from lpengine.compile import DEFAULT_COMPILER
from lpengine.errors import NotFoundError
from lpengine.patch import build
from lpengine.patch.built import Built
from lpengine.patch.reader import load_patch


def build_c(
    source: str | Path,
    replacements: Mapping[str, str],
    image: str | Path,
    *,
    depends: str | Path | None = None,
    compiler: str = DEFAULT_COMPILER,
    **options: Unpack[build.More],
) -> Built:
    """Compile replacements (old function to new one) into a module for `image`, a
    hypervisor or a Linux kernel; `depends` is the module below it in the stack."""
    below = build_id_of(depends)
    chosen = build.Options(depends=below, **options).named(Path(source).stem)
    return build.build_c(
        Path(source), replacements, Path(image), chosen, compiler=compiler
    )


def build_asm(
    function: str,
    code: str,
    image: str | Path,
    *,
    depends: str | Path | None = None,
    **options: Unpack[build.More],
) -> Built:
    """Assemble `code` into a module that runs in the place of `function`."""
    plain = function.rpartition("#")[2].partition(",")[0]
    chosen = build.Options(depends=build_id_of(depends), **options).named(plain)
    return build.build_asm(function, code, Path(image), chosen)


def build_id_of(payload: str | Path | None) -> str:
    if payload is None:
        return ""
    patch = load_patch(Path(payload))
    if not patch.build_id:
        raise NotFoundError(
            f"{payload}: no build id to depend on",
            hint="name a patch module that has a .note.gnu.build-id",
        )
    return patch.build_id

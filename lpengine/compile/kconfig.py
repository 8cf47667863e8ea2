"""Whether a kernel's configuration came through `make olddefconfig` as it was."""

import re
from collections.abc import Iterator

from lpengine.errors import InputError

_SET = re.compile(r"^(CONFIG_\w+)=(.*)$", re.MULTILINE)
# What says who builds, not what is built.
_OF_THE_BUILDER = re.compile(
    r"CONFIG_(?:(?:CC|RUSTC|BINDGEN)_VERSION_TEXT|BUILD_SALT|LOCALVERSION_AUTO"
    r"|SYSTEM_\w+|MODULE_SIG\w*|RUST_IS_AVAILABLE"
    r"|(?:AS|LD|LLD|RUSTC|RUSTC_LLVM|CLANG|GCC|PAHOLE)_VERSION)"
)
_SHOWN = 4
# What an option's absence nearly always comes of.
_HINTS = {
    "CONFIG_DEBUG_INFO_BTF": "apt install dwarves",
}


def require_kept(wanted: bytes, got: bytes) -> None:
    """InputError naming the options that this tree, or what is installed here, does
    not let be as they are in the running kernel."""
    lost = list(_lost(_options(wanted), _options(got)))
    if not lost:
        return
    shown = ", ".join(lost[:_SHOWN])
    more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    names = (each.partition("=")[0] for each in lost)
    hint = next((_HINTS[name] for name in names if name in _HINTS), "")
    raise InputError(
        f"the configuration cannot be had here: {shown}{more}",
        hint=hint or "is it for this tree, and with the kernel's own compiler?",
    )


def _lost(wanted: dict[str, str], got: dict[str, str]) -> Iterator[str]:
    for name, value in wanted.items():
        if got.get(name, "n") != value and not _OF_THE_BUILDER.fullmatch(name):
            yield f"{name}={value} becomes {got.get(name, 'n')}"


def _options(text: bytes) -> dict[str, str]:
    return dict(_SET.findall(text.decode(errors="replace")))

"""What a kernel demands of the modules it takes."""

from collections.abc import Mapping
from dataclasses import dataclass

from lpengine.elf.btf import Struct
from lpengine.elf.kernel import Export, KernelImage
from lpengine.elf.orc import OrcFormat
from lpengine.errors import BuildError, InputError, NotFoundError

RETURN_THUNK = "__x86_return_thunk"
INDIRECT_THUNK = "__x86_indirect_thunk_"
ENABLE = "klp_enable_patch"
LAYOUT = "module_layout"

# include/linux/module.h: struct modversion_info and MODULE_NAME_LEN.
VERSION_SIZE = 64
LONGEST_VERSION_NAME = VERSION_SIZE - 8 - 1
LONGEST_MODULE_NAME = VERSION_SIZE - 8 - 1

# Where kCFI keeps its traps, by linker script.
_TYPE_CHECKS = ("__kcfi_traps", ".kcfi_traps")
_STRUCTS = (
    "module",
    "klp_patch",
    "klp_object",
    "klp_func",
    "klp_callbacks",
    "klp_state",
)


@dataclass(frozen=True)
class ModuleAbi:
    """Layouts by struct name, the vermagic, exports by name, and how the kernel
    was hardened: `return_thunks` and `retpolines` want lists of what calls them,
    `landing_pads` an endbr64 at each function called through a pointer."""

    vermagic: str
    structs: Mapping[str, Struct]
    exports: Mapping[str, Export]
    orc: OrcFormat | None
    return_thunks: bool = False
    retpolines: bool = False
    landing_pads: bool = False
    build_id: str = ""

    def offset(self, struct: str, member: str) -> int:
        try:
            return self.structs[struct].members[member]
        except KeyError:
            raise BuildError(
                f"the kernel's struct {struct} has no member {member}",
                codes=("LP-TGT-102",),
                hint="this lpengine does not know that kernel's live patch interface",
            ) from None

    def size(self, struct: str) -> int:
        return self.structs[struct].size

    @property
    def has_versions(self) -> bool:
        """Whether modules carry CRCs (CONFIG_MODVERSIONS)."""
        layout = self.exports.get(LAYOUT)
        return layout is not None and layout.crc is not None


def module_abi(kernel: KernelImage) -> ModuleAbi:
    """What `kernel` demands. BuildError where it takes no live patches."""
    if ENABLE not in kernel.exports:
        raise BuildError(
            f"{kernel.path}: the kernel takes no live patches",
            codes=("LP-TGT-104",),
            hint="it has to be built with CONFIG_LIVEPATCH",
        )
    if any(kernel.has_section(name) for name in _TYPE_CHECKS):
        raise BuildError(
            f"{kernel.path}: the kernel checks the types of indirect calls (kCFI), "
            "which code built without it does not pass",
            codes=("LP-SHP-174",),
            hint="build the module with the kernel's own compiler and headers",
        )
    try:
        structs = {name: kernel.btf.struct(name) for name in _STRUCTS}
    except (NotFoundError, InputError) as error:
        raise BuildError(
            f"{kernel.path}: {error.message}",
            codes=("LP-TGT-102",),
            hint="the kernel has to be built with CONFIG_DEBUG_INFO_BTF",
        ) from error
    return ModuleAbi(
        vermagic=kernel.vermagic,
        structs=structs,
        exports=kernel.exports,
        orc=kernel.orc_format if kernel.has_section(".orc_unwind") else None,
        return_thunks=kernel.has_section(".return_sites"),
        retpolines=kernel.has_section(".retpoline_sites"),
        landing_pads=kernel.has_section(".ibt_endbr_seal"),
        build_id=kernel.build_id,
    )

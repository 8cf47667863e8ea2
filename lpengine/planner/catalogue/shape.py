"""SHP: the shape of the old code."""

from lpengine.planner.catalogue.code import Code
from lpengine.planner.findings import Guidance

CODES = (
    Code(
        "LP-SHP-171",
        "FUNCTION_TOO_SHORT",
        summary="There is not enough room in the function for what is to be written.",
        detection="old_size is compared with 5 bytes, or 9 where the function starts "
        "with ENDBR64; for a blank, with its length and the limit of 31.",
        remedy="patch the callers instead",
        guidance=Guidance.REBOOT_HOST,
        source="Xen arch/x86/livepatch.c: arch_livepatch_verify_func",
        text="A redirect is a 5-byte jump. An ENDBR64 at the start stays, in its "
        "poisoned form too, so that 9 bytes are needed then. Shorter functions "
        "cannot be redirected by themselves. Often there is padding up to the next "
        "function; when it is proven to be nothing else the remedy says which "
        "old_size makes use of it. Xen gives no message at all for this refusal.",
    ),
    Code(
        "LP-SHP-172",
        "FUNCTION_NOT_PATCHABLE",
        summary="The function cannot be patched where it is.",
        detection="The address is compared with the image's code and init sections.",
        remedy="patch its callers, or get the effect with a hook",
        guidance=Guidance.REBOOT_HOST,
        source="kpatch: functions that can not be patched; seen to crash Xen 4.17",
        text="Boot code has run and is gone: Xen finds its name all the same and "
        "faults while it loads the patch. Inlined functions exist in their callers "
        "only, some must not be traced, and an address outside the code is not a "
        "function. A fix to boot code needs a boot, or a hook that repeats its "
        "effect.",
    ),
    Code(
        "LP-SHP-173",
        "TRAMPOLINE_OUT_OF_RANGE",
        summary="The new code is too far away for the jump.",
        detection="The distance between old and new code is compared with 2 GiB.",
        remedy="have the new code placed nearer, or allow the long jump",
        guidance=Guidance.REBOOT_HOST,
        source="Xen livepatch.h: livepatch_verify_distance",
        text="The near jump reaches 2 GiB in either direction. The target places new "
        "code in an area of its own; from there this function is out of reach. "
        "Targets that may use the 14-byte jump do so where it fits.",
    ),
    Code(
        "LP-SHP-174",
        "SPECIAL_SECTION_UNSUPPORTED",
        summary="The patch changes code that the target rewrites by itself.",
        detection="Alternatives, jump labels, static calls and their kin are checked "
        "against what the target handles.",
        remedy="rebuild the patch from the running image's source",
        guidance=Guidance.REBOOT_HOST,
        source="Xen alternative.c: _apply_alternatives; kpatch: jump labels",
        text="Alternatives swap instructions by processor feature while the module "
        "is loaded. A feature number that the hypervisor does not have, or a "
        "replacement longer than its site, comes from another source tree. Before "
        "4.20 Xen stops the whole machine over it, even when the build id is wrong, "
        "because it looks at that later.",
    ),
    Code(
        "LP-SHP-175",
        "JUMP_INTO_PATCHED_BYTES",
        summary="The function jumps back into the bytes that would be overwritten.",
        detection="The function is disassembled; direct branches that land behind "
        "the first overwritten byte and before the last are looked for.",
        remedy="patch the callers, or another function on the way",
        guidance=Guidance.REBOOT_HOST,
        source="the planner itself",
        text="A loop that starts near the beginning of a function jumps there. After "
        "patching, such a branch would land inside the new jump and execute garbage. "
        "That matters where a call can be under way while the patch goes on. The "
        "evidence lists branches and their targets.",
    ),
    Code(
        "LP-SHP-176",
        "SIBLING_CALL_UNSUPPORTED",
        summary="The patched code leaves by a jump where the target needs a call.",
        detection="Tail calls in new code on targets with a shadow of the stack.",
        remedy="rebuild with -fno-optimize-sibling-calls",
        guidance=Guidance.REBOOT_HOST,
        source="kpatch: unsupported sibling call",
        text="A tail call reuses the caller's frame. Architectures whose calls go "
        "through stubs, and some shadow stacks, cannot follow it out of patched "
        "code. The flag turns it into an ordinary call.",
    ),
    Code(
        "LP-SHP-177",
        "NOP_UNSAFE",
        summary="Blanking these bytes would break the function, or the hypervisor.",
        detection="The range is compared with instruction boundaries, the function's "
        "end and the ENDBR64 that stays in front.",
        remedy="blank whole instructions only, or redirect the function",
        guidance=Guidance.REBOOT_HOST,
        source="seen to crash Xen 4.17, with a test patch of its own tree too",
        text="A blank must cover whole instructions and must leave the one that ends "
        "the function, otherwise execution runs into what comes behind. With an "
        "ENDBR64 in front the first four bytes are not counted: a shorter blank "
        "makes Xen copy a negative length and die at once. A return may be five "
        "bytes long: with return thunks it is a jump. The remedy lists the sizes "
        "that would do.",
    ),
    Code(
        "LP-SHP-178",
        "FUNCTION_NOT_DECODED",
        summary="Part of the function could not be disassembled.",
        detection="The disassembler stopped before the function's end.",
        remedy="look at the bytes: data within code, or an instruction too new",
        guidance=Guidance.NONE,
        source="the planner itself",
        text="Behind the first undecodable byte nothing is known, so branches from "
        "there into the overwritten bytes would be missed. Tables inside hand-written "
        "assembly do this. It is a warning: decide by eye.",
    ),
    Code(
        "LP-SHP-179",
        "OLD_FUNCTION_WRONG",
        summary="The function is not where, or not as long as, the patch says.",
        detection="Address and size in the record are compared with the image's "
        "symbols.",
        remedy="rebuild the patch for the running image",
        guidance=Guidance.REBOOT_HOST,
        source="accepted by Xen 4.17 without a check",
        text="The hypervisor believes the record. A size too large lets it overwrite "
        "the next function, one too small fails for no reason, an address in the "
        "middle of a function tears it. A difference usually means that the patch "
        "was built from another build with the same version.",
    ),
    Code(
        "LP-SHP-180",
        "FUNCTIONS_OVERLAP",
        summary="Two entries of the patch redirect the same bytes.",
        detection="The ranges of all old functions are compared with each other.",
        remedy="keep one entry a function",
        guidance=Guidance.REBOOT_HOST,
        source="seen to crash Xen 4.17; the same in later versions",
        text="The second entry saves the first one's jump as if it were the original. "
        "Xen takes entries back in the order in which it put them on, so that after "
        "a successful revert the function still jumps into the patch, and when that "
        "is unloaded the next call ends in a double fault.",
    ),
)

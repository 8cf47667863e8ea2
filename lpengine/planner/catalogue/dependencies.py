"""DEP: what is loaded already, and in which order."""

from lpengine.planner.catalogue.code import Code
from lpengine.planner.findings import Guidance, Severity

CODES = (
    Code(
        "LP-DEP-501",
        "DEPENDENCY_MISSING",
        summary="The patch belongs on top of something else.",
        detection="The build id it depends on is compared with the top of the stack, "
        "or with the image when nothing is applied or all is replaced.",
        remedy="apply what it depends on first, or use a cumulative patch",
        guidance=Guidance.NONE,
        source="Xen livepatch.c: build_id_dep",
        text="Patches form a stack. Each names by build id what it was built upon: "
        "the image for the first, the patch below for every other. The remedy names "
        "the patch that would fit if it is loaded. The check can be switched off for "
        "one apply; then nobody knows whether the two fit, and the plan warns. In the "
        "same way an update may require others, which have to be installed before.",
    ),
    Code(
        "LP-DEP-502",
        "CONFLICTING_PATCH",
        summary="Another patch holds part of the same code.",
        detection="Ranges of applied patches are compared with those of this one.",
        remedy="take the other patch off first",
        guidance=Guidance.REBOOT_HOST,
        source="update conflicts; two live patching tools on one system",
        text="Stacking works when both redirect the same function from its first "
        "byte. Ranges that overlap otherwise, or a second tool that patches too, "
        "would save and restore each other's half-written bytes. Whole updates can "
        "stand against one another as well, and say so.",
    ),
    Code(
        "LP-DEP-503",
        "NOT_TOP_OF_STACK",
        summary="Other patches lie on top of it.",
        detection="The stack of applied patches is compared with the name.",
        remedy="revert those above it first",
        guidance=Guidance.NONE,
        source="Xen livepatch.c: livepatch_action, EBUSY",
        text="Only the topmost patch comes off, because the ones above were built "
        "upon it and may have saved its bytes. Give all the names at once: the order "
        "is found by itself.",
    ),
    Code(
        "LP-DEP-504",
        "NAME_IN_USE",
        summary="Another patch of that name is loaded.",
        detection="Name and hash are compared with what is loaded.",
        remedy="unload the other one, or choose another name",
        guidance=Guidance.NONE,
        source="Xen livepatch.c: livepatch_upload, EEXIST",
        text="Names identify patches on the target. This one is taken by a patch "
        "with other bytes, perhaps an earlier build of the same fix.",
    ),
    Code(
        "LP-DEP-505",
        "ALREADY_APPLIED",
        summary="It is applied already.",
        detection="Name, hash and state are compared with what is loaded.",
        remedy="nothing to do",
        guidance=Guidance.NONE,
        source="XAPI: PATCH_ALREADY_APPLIED; libpulp: EAPPLIED",
        text="The same bytes are in effect. Planning the same patch again gives no "
        "steps, which is what makes repeated runs safe.",
        severity=Severity.INFO,
    ),
    Code(
        "LP-DEP-506",
        "SUPERSEDED",
        summary="What is applied contains this fix and more.",
        detection="The effective version is newer than this one.",
        remedy="nothing to do",
        guidance=Guidance.NONE,
        source="XAPI: accumulative live patches",
        text="Cumulative patches contain their predecessors. Applying an older one "
        "would undo fixes.",
        severity=Severity.INFO,
    ),
    Code(
        "LP-DEP-507",
        "MANDATORY_TASK_PENDING",
        summary="An earlier update still waits for a mandatory task.",
        detection="The host's pending guidance is not empty.",
        remedy="finish that task first",
        guidance=Guidance.REBOOT_HOST,
        source="XAPI: assert_no_host_pending_mandatory_guidance",
        text="Updates build upon one another. While one is half in effect the next "
        "one's assumptions do not hold.",
    ),
    Code(
        "LP-DEP-508",
        "PATCH_NOT_LOADED",
        summary="No patch of that name is loaded.",
        detection="The name is looked up in the target's list.",
        remedy="check the name with: lpengine status",
        guidance=Guidance.NONE,
        source="Xen livepatch.c: find_payload, ENOENT",
        text="A misspelt name, another target, or a patch that was lost with the last "
        "boot: live patches live in memory only.",
    ),
    Code(
        "LP-DEP-509",
        "STILL_APPLIED",
        summary="The patch is in effect and cannot be unloaded.",
        detection="The patch's state is looked up.",
        remedy="revert it first",
        guidance=Guidance.NONE,
        source="Xen livepatch.c: livepatch_action, EINVAL",
        text="Its code is what callers jump to. Unloading is for patches that were "
        "reverted or never applied.",
    ),
    Code(
        "LP-DEP-510",
        "NAME_INVALID",
        summary="The target does not take that name.",
        detection="Length and characters of the name are checked.",
        remedy="give the patch a shorter name, without NUL",
        guidance=Guidance.NONE,
        source="Xen livepatch.c: get_name",
        text="Xen keeps 128 bytes for a name, the closing NUL among them. The name "
        "is that of the file unless another one is given.",
    ),
    Code(
        "LP-DEP-511",
        "BUILD_ID_IN_USE",
        summary="The same patch is loaded under another name.",
        detection="Its build id is compared with those of the loaded patches.",
        remedy="use the one that is loaded, or unload it first",
        guidance=Guidance.NONE,
        source="Xen livepatch.c: prepare_payload, EEXIST",
        text="The stack is held together by build ids, so each may be there once. "
        "Two different patches with one id come from a link without a content hash.",
    ),
    Code(
        "LP-DEP-512",
        "WRONG_STATE",
        summary="The patch is not in the state this action starts from.",
        detection="The action is compared with the patch's state.",
        remedy="look at the state with: lpengine status",
        guidance=Guidance.NONE,
        source="Xen livepatch.c: livepatch_action answers success and does nothing",
        text="To revert what is not applied, or to replace with what is applied, "
        "changes nothing; the hypervisor reports success and leaves an old error "
        "code in place. The engine looks at the state before and after instead.",
    ),
    Code(
        "LP-DEP-513",
        "STILL_NEEDED",
        summary="Another loaded patch was made for this one.",
        detection="Dependencies of the loaded patches are followed.",
        remedy="unload those that depend on it first",
        guidance=Guidance.NONE,
        source="Xen unloads it and leaves the other with freed symbols",
        text="A patch may use symbols of the one below; their addresses were filled "
        "in when it was loaded. After the lower one is unloaded, even to be loaded "
        "again, they point to freed memory. Unload from the top, load from the "
        "bottom.",
    ),
    Code(
        "LP-DEP-514",
        "STATES_INCOMPATIBLE",
        summary="The patch does not know a system state that another one has changed.",
        detection="The states of patches that are on, by number and version, are "
        "compared with those of the new one.",
        remedy="get a newer patch, or revert the other one first",
        guidance=Guidance.REBOOT_HOST,
        source="Linux kernel/livepatch/state.c: klp_is_patch_compatible",
        text="Patches may change the state of the running system and number what they "
        "did. A later patch must know at least the same version of each, and one that "
        "replaces all others must know every state; otherwise nobody could undo it.",
    ),
    Code(
        "LP-DEP-515",
        "TARGET_MODULE_RELOAD",
        summary="A module that is patched cannot be unloaded and loaded again.",
        detection="The kernel's release is compared with 6.3, and the patch is "
        "searched for addresses that are filled in when a module is loaded.",
        remedy="revert and unload the patch before the module is loaded again",
        guidance=Guidance.NONE,
        source="Linux: klp_apply_section_relocs without clear_relocate_add, before 6.3",
        text="Older kernels do not clear what they filled in for a module when that "
        "module goes, and refuse the module when it comes again, because the places "
        "are not empty. Everything works as long as the module stays.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-DEP-516",
        "MODULE_PINNED",
        summary="The kernel keeps the module until the next boot.",
        detection="The engine's own record says that a transition was forced.",
        remedy="leave it, or reboot",
        guidance=Guidance.REBOOT_HOST,
        source="Linux kernel/livepatch/transition.c: klp_force_transition",
        text="When a transition is forced nobody knows whether a task is still inside "
        "the code, so that the kernel never frees it. The patch can still be taken "
        "off, but its module cannot leave, and no other of that name can come.",
    ),
    Code(
        "LP-DEP-517",
        "NOT_CUMULATIVE",
        summary="The patch would take the place of another without its fixes.",
        detection="The functions of both are compared when the patch is built.",
        remedy="build it from the patches of all fixes that it is to replace",
        guidance=Guidance.NONE,
        source="Xen livepatch.c: LIVEPATCH_ACTION_REPLACE reverts all that is applied",
        text="A replace takes back everything and applies one patch in one stop. What "
        "that one does not bring is unfixed from then on, without a word from "
        "anybody. A cumulative patch therefore has every function that the replaced "
        "ones have.",
    ),
)

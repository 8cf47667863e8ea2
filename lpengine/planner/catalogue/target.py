"""TGT: is this the target the patch was made for?"""

from lpengine.planner.catalogue.code import Code
from lpengine.planner.findings import Guidance

CODES = (
    Code(
        "LP-TGT-101",
        "TARGET_BUILD_ID_MISMATCH",
        summary="The patch was built for another image than the one running.",
        detection="The build id in the patch is compared with the running image's.",
        remedy="get the patch that was built for the running image",
        guidance=Guidance.EVACUATE_AND_REBOOT,
        source="Xen livepatch.c: xen_build_id_dep",
        text="A live patch holds addresses and sizes of one single build. The build "
        "id, a hash of the image, tells builds apart; here they differ. Versions may "
        "look the same: a rebuild of the same source is another build. Note that it "
        "is the *running* image that counts, not the one on disk. Xen 4.17 compares "
        "only after it has processed most of the module, so such a module must not "
        "even be loaded.",
    ),
    Code(
        "LP-TGT-102",
        "TARGET_VERSION_MISMATCH",
        summary="Versions of target and patch, or of target and engine, do not fit.",
        detection="Interface version, release and compiler are compared.",
        remedy="use the update for this release, or an engine that knows it",
        guidance=Guidance.REBOOT_HOST,
        source="Xen sysctl.h: interface version; kpatch: version magic",
        text="Either the patch names a release other than the one installed, or the "
        "target's interface has a version number this engine has never met. The "
        "hypervisor answers EACCES to a wrong interface version. Upgrade whichever "
        "is older.",
    ),
    Code(
        "LP-TGT-103",
        "TARGET_NOT_RUNNING",
        summary="What the patch is for is not there, so nothing needs patching.",
        detection="The hypervisor, module, library or process is looked for.",
        remedy="nothing: the fixed file is used when it starts",
        guidance=Guidance.NONE,
        source="Ksplice and libpulp: target not loaded",
        text="The component is not in memory now. Once the fixed files are on disk "
        "they take effect by themselves when it is started.",
    ),
    Code(
        "LP-TGT-104",
        "TARGET_NOT_LIVEPATCHABLE",
        summary="The running image cannot be live patched at all.",
        detection="The target is asked for its live patching support and build id.",
        remedy="boot an image that was built with live patching and a build id",
        guidance=Guidance.REBOOT_HOST,
        source="Xen: CONFIG_LIVEPATCH, ENOSYS; xen_build_id, ENODATA",
        text="Live patching is a build option, and it needs an image with a build "
        "id. This one lacks one of the two, so every fix takes a reboot until an "
        "image with both is booted.",
    ),
    Code(
        "LP-TGT-105",
        "TARGET_TEXT_MODIFIED",
        summary="The code in memory is not what it should be.",
        detection="Live bytes are compared with the image's file, less the redirects "
        "of known patches, and with the bytes the patch expects.",
        remedy="remove the probe or the other tool that changed the function",
        guidance=Guidance.EVACUATE_AND_REBOOT,
        source="Xen: expectations; KernelCare 2026: stale jumps left in text",
        text="Something has written to the function: a tracer's probe, another live "
        "patching tool, a jump left behind by one, or the patch was built for code "
        "in another state. Overwriting it could not be taken back, and the saved "
        "bytes would be wrong. The evidence shows both sides, and whether one of our "
        "own patches redirects the function. If nobody owns up to the change, the "
        "memory is not to be trusted: reboot.",
    ),
    Code(
        "LP-TGT-106",
        "ACTION_UNSUPPORTED",
        summary="The target does not know this action.",
        detection="The action is looked up in the target's capabilities.",
        remedy="reach the same state by revert and apply",
        guidance=Guidance.REBOOT_HOST,
        source="Xen livepatch.c: livepatch_op, EOPNOTSUPP",
        text="Not every target replaces atomically. What replace does in one stop can "
        "be done by reverting the stack from the top and applying the new patch; in "
        "between, nothing is fixed.",
    ),
    Code(
        "LP-TGT-107",
        "TARGET_NOT_READABLE",
        summary="The code that would be overwritten could not be seen.",
        detection="A function was found, its bytes were not.",
        remedy="give the engine the image's file and the right to read its memory",
        guidance=Guidance.REBOOT_HOST,
        source="the planner itself: inconclusive counts as a no",
        text="Without the bytes neither size nor jumps nor earlier modifications can "
        "be checked. The address may lie outside the image, or the target does not "
        "let its memory be read. For a function that another patch of the same plan "
        "brings it is a warning only: it cannot be there yet.",
    ),
    Code(
        "LP-TGT-108",
        "BASE_NOT_PROVED",
        summary="The running image was not linked from what was built.",
        detection="Every function of the original objects is compared with the image, "
        "byte by byte, without the fields that the linker fills in; what it filled in "
        "is followed to the symbols there.",
        remedy="build with the image's compiler, configuration, commit and patches",
        guidance=Guidance.NONE,
        source="Ksplice's run-pre matching; Xen's wiki: the same compiler is a must",
        text="A module built beside another source calls functions that are not there, "
        "and reads structures that look different. Nobody notices before it runs. The "
        "functions that differ are named: many mean another compiler or another "
        "configuration, a few another commit or a patch of the distribution. Text that "
        "differs, such as the date of the build, does not count.",
    ),
)

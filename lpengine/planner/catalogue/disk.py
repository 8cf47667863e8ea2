"""DSK: the files on disk."""

from lpengine.planner.catalogue.code import Code
from lpengine.planner.findings import Guidance, Severity

CODES = (
    Code(
        "LP-DSK-701",
        "DISK_SPACE",
        summary="The files of the update do not fit.",
        detection="Free space is compared with the update's size.",
        remedy="remove what is not needed, such as old updates",
        guidance=Guidance.NONE,
        source="XAPI: UPDATE_PRECHECK_FAILED_OUT_OF_SPACE",
        text="Old and new files exist side by side for a moment, so that twice the "
        "size is needed. Nothing was written.",
    ),
    Code(
        "LP-DSK-702",
        "DISK_PACKAGE_CONFLICT",
        summary="The package manager refuses the update's packages.",
        detection="Its solver was asked beforehand.",
        remedy="resolve the conflict it names",
        guidance=Guidance.NONE,
        source="dnf and apt: dependency solvers",
        text="Another package stands against it, often one from outside the "
        "distribution. The patch in memory alone would be lost with the next boot.",
    ),
    Code(
        "LP-DSK-703",
        "DISK_READ_ONLY_OR_IMAGE",
        summary="The root file system is not updated file by file.",
        detection="It is mounted read-only, or the system is built from images.",
        remedy="put the fix into the image as well",
        guidance=Guidance.NONE,
        source="image-based systems",
        text="The live patch can be applied, but the next boot starts the old image "
        "again. The fix must get into that image.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-DSK-704",
        "DISK_MEMORY_SKEW",
        summary="Memory is fixed, the disk is not: the next boot undoes it.",
        detection="Effective and installed versions are compared.",
        remedy="install the files of the update",
        guidance=Guidance.NONE,
        source="an update is files and memory",
        text="A live patch ends with the boot. Until the fixed files are installed "
        "the host is one power cut away from being vulnerable again.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-DSK-705",
        "BOOT_ARTEFACT_STALE",
        summary="The files are new, what the boot loader starts is not.",
        detection="Boot entries and images are compared with the installed files.",
        remedy="regenerate the boot image or entry",
        guidance=Guidance.NONE,
        source="boot loaders and initial file systems",
        text="Hypervisors, kernels and initial file systems are copied or wrapped "
        "for the boot loader. A copy made before the update boots the old code.",
        severity=Severity.WARN,
    ),
)

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
    Code(
        "LP-DSK-706",
        "DISK_PATH_REFUSED",
        summary="A file of the update cannot go where it says.",
        detection="Each path is followed, link by link.",
        remedy="make room for the file there, or ask the publisher for another path",
        guidance=Guidance.NONE,
        source="lpengine: a file takes the place of a file, a link or nothing",
        text="A directory, a device or a socket is in the way, a parent is no "
        "directory, a link leads out of the root, two files of the update end up in "
        "one place, or it is lpengine's own state. Nothing was written.",
    ),
    Code(
        "LP-DSK-707",
        "DISK_OWNER_UNKNOWN",
        summary="The owner of a file is not known on this host.",
        detection="User and group are looked up in the root the update goes to.",
        remedy="create the user or group, or install the package that brings it",
        guidance=Guidance.NONE,
        source="lpengine: owners are given by name",
        text="Files of an update belong to a user and a group by name. Giving them to "
        "somebody else instead could open them to the wrong reader, so that nothing "
        "was written.",
    ),
    Code(
        "LP-DSK-708",
        "DISK_FILE_CHANGED",
        summary="A file is not what the update put there.",
        detection="Content, mode and owner are compared with what was installed.",
        remedy="look at it; --keep-changed leaves it as it is, and takes the rest back",
        guidance=Guidance.NONE,
        source="dpkg: configuration files that the administrator has changed",
        text="Somebody has changed it since, or another program has. Putting the old "
        "file back would throw that away, so that it is kept and named.",
    ),
    Code(
        "LP-DSK-709",
        "DISK_BUILT_UPON",
        summary="A later update builds on this one.",
        detection="Later updates that require it or have replaced its files.",
        remedy="uninstall the later one first",
        guidance=Guidance.NONE,
        source="lpengine: backups are of what was there before",
        text="What a later update replaced are the files of this one, and it puts them "
        "back when it goes. Taken back in another order, the disk would be a mixture "
        "that nobody has tested.",
    ),
    Code(
        "LP-DSK-710",
        "DISK_ARCHIVE_MISSING",
        summary="The package that was there before is not at hand.",
        detection="Archives are looked for in the package manager's cache and among "
        "those of earlier updates.",
        remedy="put its archive into the package manager's cache, or install the "
        "version by hand",
        guidance=Guidance.NONE,
        source="dpkg and rpm: they keep no copy of what they replace",
        text="A package manager forgets a version as soon as it has installed another. "
        "Where its archive was at hand it was kept, so that the update can be taken "
        "back; this one was not.",
    ),
)

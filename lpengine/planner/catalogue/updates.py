"""UPD: updates as a whole, and what they mean for hosts and pools."""

from lpengine.planner.catalogue.code import Code
from lpengine.planner.findings import Guidance, Severity

CODES = (
    Code(
        "LP-UPD-801",
        "NO_LIVE_PATCH",
        summary="The update fixes this component, but brings no live patch for it.",
        detection="The components that the update fixes are compared with those of "
        "its live patches, or the host was asked.",
        remedy="reboot for the update",
        guidance=Guidance.EVACUATE_AND_REBOOT,
        source="XAPI: livepatch_status ok",
        text="Some fixes cannot be made in memory, and some updates come without live "
        "patches. The files are installed; the code that runs stays as it is until "
        "it is started again.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-UPD-802",
        "BUILD_NOT_SERVED",
        summary="There is no live patch for the build that runs.",
        detection="The running build id is looked for among the bases of the live "
        "patches.",
        remedy="reboot for the update",
        guidance=Guidance.EVACUATE_AND_REBOOT,
        source="XAPI repository_helpers.ml: get_livepatches_in_updateinfo",
        text="A live patch fits exactly one build, by its build id; versions do not "
        "count. Hosts that missed a few updates run builds that the publisher makes "
        "no live patches for.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-UPD-803",
        "BUILD_END_OF_LIFE",
        summary="The newest live patch no longer serves the build that runs.",
        detection="The bases of the component's newest live patch are compared with "
        "the running build id.",
        remedy="reboot into a newer build",
        guidance=Guidance.EVACUATE_AND_REBOOT,
        source="XAPI repository_helpers.ml: is_supported",
        text="Older live patches for the build may still be there, but they miss what "
        "the newest one fixes. Applying them would only look like being up to date. "
        "This holds for hosts that have a live patch on, too.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-UPD-804",
        "RUNNING_STATE_UNKNOWN",
        summary="It is not known what runs.",
        detection="The running build id, or what a live patch that is on has brought "
        "it to, could not be read.",
        remedy="make it readable (run as root) and plan again, or reboot",
        guidance=Guidance.EVACUATE_AND_REBOOT,
        source="XAPI repository_helpers.ml: get_accumulative_livepatches",
        text="Without knowing the build nobody can say which live patch fits, nor "
        "whether the fix is in effect already. What is not known counts as not fixed.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-UPD-805",
        "METADATA_MALFORMED",
        summary="Part of the update's metadata is damaged or unknown.",
        detection="The reader of the update reports every part it cannot rely on.",
        remedy="get the update again, or a newer lpengine",
        guidance=Guidance.REBOOT_HOST,
        source="lpengine; XAPI drops such parts without a word",
        text="What is malformed is taken as unsafe: live patches of that component "
        "are not relied on, and guidance that cannot be read is a reboot.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-UPD-806",
        "GUIDANCE_UNKNOWN",
        summary="The update asks for something that nobody here knows.",
        detection="The words of its guidance are compared with the known ones.",
        remedy="get a newer lpengine; until then it counts as a reboot",
        guidance=Guidance.REBOOT_HOST,
        source="XAPI updateinfo.ml: Guidance.of_string",
        text="A publisher may invent new kinds of tasks. Whatever they are, a reboot "
        "covers them.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-UPD-807",
        "REBOOT_IS_MANDATORY",
        summary="The update has to be followed by a reboot in any case.",
        detection="The mandatory guidance of all updates for the host is merged.",
        remedy="evacuate the host first, and reboot it afterwards",
        guidance=Guidance.EVACUATE_AND_REBOOT,
        source="XAPI repository_helpers.ml: can_avoid_live_patching",
        text="Live patches are not applied then: the reboot brings all they would, and "
        "one change less can go wrong before it.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-UPD-808",
        "COVERAGE_INCOMPLETE",
        summary="Live patches apply, but not to everything that is fixed.",
        detection="Every component that the update fixes is looked at by itself.",
        remedy="reboot for the rest",
        guidance=Guidance.EVACUATE_AND_REBOOT,
        source="XAPI: livepatch_status ok_livepatch_incomplete",
        text="A host is as vulnerable as its least fixed component. The live patches "
        "that apply are applied; the reboot is needed as if there were none.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-UPD-809",
        "FAILED_BEFORE",
        summary="The live patch failed last time, and is tried again.",
        detection="The host remembers for each component whether it failed.",
        remedy="if it fails again, reboot",
        guidance=Guidance.RETRY,
        source="XAPI repository_helpers.ml: merge_livepatch_failures",
        text="A failed live patch leaves the host as it was, with the files of the "
        "update on its disk. Success or a boot clears the memory of it.",
        severity=Severity.INFO,
        retryable=True,
    ),
    Code(
        "LP-UPD-810",
        "REBOOT_NEEDED",
        summary="The host needs to be rebooted for the update to take effect.",
        detection="Guidance, coverage by live patches and what earlier updates have "
        "left are put together.",
        remedy="evacuate the host and reboot it",
        guidance=Guidance.EVACUATE_AND_REBOOT,
        source="XenCenter: HostNeedsRebootCheck",
        text="Said beforehand, so that it can be arranged. It keeps nobody from "
        "installing the update.",
        severity=Severity.INFO,
    ),
    Code(
        "LP-UPD-811",
        "NOT_FOR_THIS_HOST",
        summary="Nothing in the update is for this host.",
        detection="Packages, files and components are compared with the host's.",
        remedy="nothing needs to be done",
        guidance=Guidance.NONE,
        source="update wizards: Update not applicable",
        text="The update has packages for another distribution only, or fixes what "
        "does not run here.",
        severity=Severity.INFO,
    ),
    Code(
        "LP-UPD-812",
        "UPDATE_UNKNOWN",
        summary="The host's package manager names an update that was not given.",
        detection="Each package it offers is looked up in the updates.",
        remedy="plan with the repository's complete metadata",
        guidance=Guidance.NONE,
        source="XAPI repository_helpers.ml: eval_guidance_for_one_update",
        text="The package would be installed, but nobody knows what must be done for "
        "it. Its guidance is not part of the plan.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-UPD-813",
        "HELD",
        summary="Somebody decided that this is to stay as it is.",
        detection="The host, or the component, is named as held in its policy.",
        remedy="ask who holds it, and release it",
        guidance=Guidance.EVACUATE_AND_REBOOT,
        source="package managers: hold and pin",
        text="A host that is held takes no update. A component that is held is not "
        "live patched; the files of the update are installed, and a reboot brings "
        "them into effect.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-UPD-814",
        "LIVE_PATCHING_ENFORCED",
        summary="The policy is to update only where no reboot remains.",
        detection="The policy's mode is compared with what the plan comes to.",
        remedy="plan with another mode, or wait for a live patch",
        guidance=Guidance.NONE,
        source="vSphere: ClusterLivePatchAction, enforce",
        text="Nothing is installed on this host, so that it stays consistent until "
        "somebody allows a reboot.",
    ),
    Code(
        "LP-UPD-815",
        "RESTARTS_FORBIDDEN",
        summary="The pool forbids automatic restarts.",
        detection="The pool's settings are read.",
        remedy="carry the tasks out by hand (--mode manual)",
        guidance=Guidance.NONE,
        source="XenCenter: Pool.IsAutoUpdateRestartsForbidden",
        text="Updates may be installed, but only the operator restarts hosts of this "
        "pool. It matters where a restart is needed.",
    ),
    Code(
        "LP-UPD-816",
        "STORAGE_DISCONNECTED",
        summary="The host does not see storage that running guests use.",
        detection="Every repository with a disk of a running or paused guest has to "
        "be connected, if it is shared or belongs to this host.",
        remedy="repair the connection of the storage",
        guidance=Guidance.RETRY,
        source="XenCenter: PBDsPluggedCheck",
        text="Guests could neither be moved to this host nor be started on it, so that "
        "the next host could not be evacuated.",
        retryable=True,
    ),
    Code(
        "LP-UPD-817",
        "COORDINATOR_PENDING_RESTART",
        summary="The pool's coordinator itself waits for a restart.",
        detection="What earlier updates have left on the coordinator is looked at.",
        remedy="reboot the coordinator, or restart its toolstack, first",
        guidance=Guidance.REBOOT_HOST,
        source="XenCenter: RestartHostOrToolstackPendingOnCoordinatorCheck",
        text="The coordinator has to run the newest version before its members are "
        "updated, since it gives them orders.",
    ),
    Code(
        "LP-UPD-818",
        "POOL_NOT_HOMOGENEOUS",
        summary="The update goes onto all hosts of a pool or onto none.",
        detection="The hosts that were chosen are compared with those of the pool "
        "that do not have the update.",
        remedy="choose the other hosts as well",
        guidance=Guidance.NONE,
        source="XenCenter: ServerSelectionCheck",
        text="Hosts of a pool with and without this update cannot work together, for "
        "instance because guests could not move between them.",
    ),
    Code(
        "LP-UPD-819",
        "POOL_MIXED",
        summary="The pool is in the middle of an upgrade.",
        detection="The product versions of its hosts differ.",
        remedy="finish the upgrade first",
        guidance=Guidance.NONE,
        source="XenCenter: MixedPoolServerSelectionWarning",
        text="The update may not be for all of its hosts, so that it cannot be asked "
        "for that they are all updated.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-UPD-820",
        "SYNCHRONISATION_STALE",
        summary="The pool's list of updates is old, or was never fetched.",
        detection="The time of the last synchronisation is compared with a week.",
        remedy="synchronise with the repository",
        guidance=Guidance.RETRY,
        source="XenCenter: OutOfSyncWithCdnCheck",
        text="A plan from an old list misses what was published since, and live "
        "patches that were withdrawn.",
        retryable=True,
    ),
    Code(
        "LP-UPD-821",
        "WRONG_SERVER_VERSION",
        summary="The update is for another version of the host's software.",
        detection="The host was asked, and says what it has and what is required.",
        remedy="get the update for this version",
        guidance=Guidance.NONE,
        source="XAPI: UPDATE_PRECHECK_FAILED_WRONG_SERVER_VERSION",
        text="Each update is built for one version of the product, and its packages "
        "would not go onto another.",
    ),
    Code(
        "LP-UPD-822",
        "SERVER_REFUSES",
        summary="The host itself refuses the update.",
        detection="The host was asked; its answer is passed on.",
        remedy="see what it says",
        guidance=Guidance.NONE,
        source="XAPI: UPDATE_PRECHECK_FAILED_UNKNOWN_ERROR and others",
        text="The update's own check on the host ended with an error that has no code "
        "of its own here.",
    ),
    Code(
        "LP-UPD-823",
        "GUEST_IN_THE_WAY",
        summary="A guest has to be dealt with before the update goes on.",
        detection="The host was asked.",
        remedy="eject the medium, or shut the guest down",
        guidance=Guidance.NONE,
        source="XAPI: PATCH_PRECHECK_FAILED_VM_RUNNING and ..._ISO_MOUNTED",
        text="Some updates replace what running guests hold, such as the disk with "
        "their tools.",
    ),
    Code(
        "LP-UPD-824",
        "UPDATE_CYCLE",
        summary="Updates require one another in a circle.",
        detection="Their prerequisites are followed.",
        remedy="get corrected updates from their publisher",
        guidance=Guidance.NONE,
        source="XenCenter Updates.cs: GetPatchSequenceForHost",
        text="Each of them is to be installed before another one of them, so that no "
        "order exists in which they could be installed.",
    ),
    Code(
        "LP-UPD-825",
        "EVACUATION_REQUIRED",
        summary="Guests still run on a host that is about to be rebooted.",
        detection="Mandatory guidance is compared with the guests on the host.",
        remedy="evacuate the host first",
        guidance=Guidance.NONE,
        source="XAPI: HOST_EVACUATION_IS_REQUIRED",
        text="After the update nothing else may be done with the host but to reboot "
        "it, so that guests have to leave before.",
        retryable=True,
    ),
    Code(
        "LP-UPD-826",
        "PLAN_OUTDATED",
        summary="The updates or the host are not what the plan was made for.",
        detection="Hashes of metadata and of observed state are compared.",
        remedy="plan again",
        guidance=Guidance.RETRY,
        source="XAPI: UPDATEINFO_HASH_MISMATCH",
        text="A plan holds for what was seen when it was made, and is carried out as "
        "it was shown, or not at all. Nothing was done.",
        retryable=True,
    ),
    Code(
        "LP-UPD-827",
        "FEATURE_NOT_LICENSED",
        summary="The licence does not include what this needs.",
        detection="The features of the host's licence are read; one that is missing "
        "is not included.",
        remedy="extend the licence",
        guidance=Guidance.NONE,
        source="XAPI: LICENCE_RESTRICTION",
        text="Installing updates, or moving guests to another host, may be tied to an "
        "edition of the product. The finding names what is missing.",
    ),
    Code(
        "LP-UPD-828",
        "LEFT_FROM_BEFORE",
        summary="An earlier update is not in effect, or a task of it was not done.",
        detection="What the host remembers is read: pending guidance, live patches "
        "that failed, updates that wait for a reboot.",
        remedy="carry it out; it is among the tasks",
        guidance=Guidance.NONE,
        source="XAPI: pending_guidances, updates_requiring_reboot",
        text="A task remains until something clears it: a boot, a start of the "
        "toolstack, or the live patch that failed going on after all. This update "
        "does not change that, so that the task is in its plan.",
        severity=Severity.WARN,
    ),
)

"""ENV: the host and what surrounds it."""

from lpengine.planner.catalogue.code import Code
from lpengine.planner.findings import Guidance, Severity

CODES = (
    Code(
        "LP-ENV-601",
        "HOST_UNREACHABLE",
        summary="The host does not answer.",
        detection="Connecting failed, or the pool reports the host as not live.",
        remedy="repair the connection or the host",
        guidance=Guidance.RETRY,
        source="XAPI: HOST_OFFLINE",
        text="Nothing is known about it and nothing was done to it. Other hosts of "
        "the same run are not affected unless the rollout says so.",
        retryable=True,
    ),
    Code(
        "LP-ENV-602",
        "HA_OR_WLB_ENABLED",
        summary="High availability or workload balancing would get in the way.",
        detection="The pool's settings are read.",
        remedy="switch it off for the update, and on again after it",
        guidance=Guidance.RETRY,
        source="XenCenter: HA check",
        text="A host that pauses or reboots looks like a failed one, and guests are "
        "moved or restarted behind one's back.",
        retryable=True,
    ),
    Code(
        "LP-ENV-603",
        "CANNOT_EVACUATE",
        summary="A reboot is needed, but some guests cannot leave the host.",
        detection="The pool is asked which guests prevent evacuation, and why.",
        remedy="resolve each guest: eject media, detach devices, or shut it down",
        guidance=Guidance.EVACUATE_AND_REBOOT,
        source="XenCenter: assert-can-evacuate check",
        text="Local storage, devices passed through, media in drives and missing "
        "memory elsewhere bind a guest to its host. It matters only where live "
        "patching is refused and a reboot is what is left.",
    ),
    Code(
        "LP-ENV-604",
        "OPERATION_IN_PROGRESS",
        summary="Another operation is under way.",
        detection="Locks, the target's own state and the pool's tasks are read.",
        remedy="wait until it has finished",
        guidance=Guidance.RETRY,
        source="Xen livepatch.c: is_work_scheduled, EBUSY",
        text="One patching action at a time, system-wide. The subject names what is "
        "being worked on.",
        retryable=True,
    ),
    Code(
        "LP-ENV-605",
        "OUT_OF_MEMORY",
        summary="There is no room for the patch's code and data.",
        detection="Section sizes, rounded up to pages as the loader does it, are "
        "compared with the largest free piece of the patch area.",
        remedy="unload patches that are not applied",
        guidance=Guidance.RETRY,
        source="Xen livepatch.c: move_payload, ENOMEM",
        text="New code must lie within reach of the old, in an area of limited size. "
        "Patches that were reverted but not unloaded still occupy it.",
        retryable=True,
    ),
    Code(
        "LP-ENV-606",
        "PRIVILEGE_OR_LOCKDOWN",
        summary="The system does not let this caller patch it.",
        detection="Privileges, lockdown mode and security modules are checked.",
        remedy="run it as root in the control domain, or change the security policy",
        guidance=Guidance.REBOOT_HOST,
        source="Xen: XSM, EPERM; Linux: lockdown",
        text="Patching needs the rights of the control domain's administrator. A "
        "security policy may forbid it even then; if that is on purpose, the update "
        "takes a reboot.",
    ),
    Code(
        "LP-ENV-607",
        "PREVIOUS_APPLY_CRASHED",
        summary="The host went down while this patch was being applied.",
        detection="The mark made before applying has survived a boot.",
        remedy="find out why before trying again",
        guidance=Guidance.REBOOT_HOST,
        source="Canonical: this patch caused a crash last time",
        text="The mark is removed when applying ends, one way or the other; that it "
        "is still there means that it did not. The fixed files are in effect since "
        "the boot, so that there is no hurry.",
    ),
    Code(
        "LP-ENV-608",
        "PINNED_VM_DEVICE_MODEL",
        summary="Running guests use a device model without the fix.",
        detection="Device model processes older than the installed files.",
        remedy="restart the device model, or migrate the guest",
        guidance=Guidance.RESTART_DEVICE_MODEL,
        source="XAPI: restart_device_model",
        text="Each guest has a process of its own for its devices, started with the "
        "guest. It keeps the old code until it is started anew.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-ENV-609",
        "TOOLSTACK_STALE",
        summary="The toolstack runs code older than its files.",
        detection="Start times of its services are compared with the files.",
        remedy="restart the toolstack; guests keep running",
        guidance=Guidance.RESTART_TOOLSTACK,
        source="XAPI: restart_toolstack",
        text="Services keep the program they were started from. Restarting them does "
        "not touch guests, only management is away for a moment.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-ENV-610",
        "TOO_MANY_PATCHES",
        summary="More patches were asked for at once than the target lists.",
        detection="The length of a list request is compared with 1024.",
        remedy="ask for the list in pieces",
        guidance=Guidance.NONE,
        source="Xen livepatch.c: livepatch_list, E2BIG",
        text="The hypervisor hands out its list of patches in pieces of at most 1024. "
        "The engine asks in pieces by itself; another tool may not.",
    ),
    Code(
        "LP-ENV-611",
        "TRACER_OFF",
        summary="The kernel's function tracer, which redirects functions, is off.",
        detection="kernel.ftrace_enabled is read.",
        remedy="sysctl kernel.ftrace_enabled=1",
        guidance=Guidance.RETRY,
        source="Linux kernel/livepatch/patch.c: klp_patch_func, EBUSY",
        text="Linux redirects a function at the call of the tracer that it begins "
        "with. While tracing is switched off for the whole kernel no live patch can "
        "be put on; once one is on, the kernel does not let it be switched off.",
        retryable=True,
    ),
    Code(
        "LP-ENV-612",
        "ENGINE_MISSING",
        summary="The host has no lpengine.",
        detection="It is asked for its state through its own command line.",
        remedy="install lpengine on the host",
        guidance=Guidance.NONE,
        source="lpengine: hosts of a pool are updated by their own",
        text="A host can be looked at and planned for from outside, by what its own "
        "programs print. Files and live patches are put on by the lpengine of the host "
        "itself, which keeps a journal there and can end after a crash what it began.",
    ),
)

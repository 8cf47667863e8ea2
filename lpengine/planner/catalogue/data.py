"""DAT: data and meaning."""

from lpengine.planner.catalogue.code import Code
from lpengine.planner.findings import Guidance, Severity

CODES = (
    Code(
        "LP-DAT-301",
        "DATA_LAYOUT_CHANGED",
        summary="A structure has another size or another order of members.",
        detection="Debug information of both builds is compared.",
        remedy="keep the layout and put new members into shadow data",
        guidance=Guidance.REBOOT_HOST,
        source="kpatch: object size mismatch",
        text="Objects that exist keep the old layout; new code that assumes another "
        "one reads and writes beside them. It builds and applies without complaint. "
        "Only the author can say whether all old objects are out of reach.",
    ),
    Code(
        "LP-DAT-302",
        "STATIC_DATA_CHANGED",
        summary="The fix changes the initial value of data that is in use.",
        detection="Data sections and static locals of both builds are compared.",
        remedy="set the new value in a hook",
        guidance=Guidance.REBOOT_HOST,
        source="kpatch: changed section; Xen's build tools refuse it too",
        text="A live patch changes code. An initial value was used at boot and has "
        "changed since; overwriting it would lose what the system knows. A hook can "
        "convert it, if there is a rule for that.",
    ),
    Code(
        "LP-DAT-303",
        "LOCK_SEMANTICS_CHANGED",
        summary="Locks, references or interrupt states are handled differently.",
        detection="Calls to such functions are compared across the change.",
        remedy="have a person confirm that old and new code may meet",
        guidance=Guidance.REBOOT_HOST,
        source="kpatch's guide for authors",
        text="While some callers run old and some new code, a lock taken by one may "
        "be released by the other. At a point without any stack they never meet; "
        "elsewhere somebody has to think it through and sign it off.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-DAT-304",
        "INIT_ONLY_EFFECT",
        summary="The fix only acts while booting.",
        detection="All changed code is in init sections, or only called from there.",
        remedy="boot, or repeat the effect in a hook",
        guidance=Guidance.REBOOT_HOST,
        source="by design of Xen's and Linux's live patching",
        text="Code that ran once does not run again because it was replaced. Settings "
        "of processors, tables made at start, command line handling: all need a boot.",
    ),
    Code(
        "LP-DAT-305",
        "NOT_REVERTIBLE",
        summary="The patch does not come off, go on again or get replaced freely.",
        detection="Writable data, action hooks and hooks with a veto are looked for.",
        remedy="unload it after a revert and load it again",
        guidance=Guidance.NONE,
        source="Xen livepatch.c: safe_to_reapply, has_payload_any_vetoing_hooks",
        text="Three things have consequences later. A patch with data of its own "
        "cannot be applied again after a revert, since the data are used; plans "
        "unload and load it afresh. One with hooks of its own for apply or revert "
        "comes off only if that hook does it right. One with hooks around apply and "
        "revert cannot take part in a replace, on either side: revert first.",
        severity=Severity.WARN,
    ),
    Code(
        "LP-DAT-306",
        "HOOK_VETO",
        summary="A hook said no.",
        detection="A hook before apply or revert returned something else than zero.",
        remedy="see the hook's own message, then try again",
        guidance=Guidance.RETRY,
        source="Xen livepatch.c: livepatch_action, pre-apply and pre-revert hooks",
        text="Authors add hooks that check whether the time is right. Nothing has "
        "been changed when one refuses, and only running it tells. Beforehand the "
        "plan mentions that there is one.",
        retryable=True,
    ),
)

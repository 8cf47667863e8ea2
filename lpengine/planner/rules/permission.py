"""May anything be patched here at all?"""

from collections.abc import Iterator

from lpengine.planner.findings import Finding
from lpengine.planner.judgement import block, warn
from lpengine.planner.rules.linux_findings import errno_of
from lpengine.planner.situation import Situation


def permitted(situation: Situation) -> Iterator[Finding]:
    """What the target itself denies, whatever the action (Xen: do_sysctl)."""
    capabilities = situation.facts.capabilities
    target = situation.facts.target
    if not capabilities.live_patching:
        yield block(
            "no-live-patching",
            "",
            target,
            observed="the target has no live patching",
            needed="a target built with live patching (CONFIG_LIVEPATCH)",
            errno=errno_of("no-live-patching", situation),
        )
    if not capabilities.interface_known:
        yield block(
            "wrong-interface",
            "",
            target,
            observed="the target speaks an unknown version of the interface",
            needed="an interface version this engine knows",
        )
    if not capabilities.privileged:
        yield block(
            "not-privileged",
            "",
            target,
            observed="the caller may not patch this target",
            needed="the privileges of the control domain's administrator",
        )
    yield from idle(situation)


def idle(situation: Situation) -> Iterator[Finding]:
    """One action at a time, system-wide (Xen: is_work_scheduled)."""
    if situation.facts.in_progress:
        yield block(
            "busy",
            "",
            situation.facts.in_progress,
            observed=f"an action on {situation.facts.in_progress} is under way",
            needed="no other action",
            remedy=f"wait until the action on {situation.facts.in_progress} is over, "
            "then plan again",
        )


def allowed(situation: Situation) -> Iterator[Finding]:
    """What policy denies: new patches, never taking one off."""
    target = situation.facts.target
    if not situation.policy.live_patching:
        yield block(
            "live-patching-disabled",
            "",
            target,
            observed="live patching is switched off by policy",
            needed="live patching switched on",
        )
    if not situation.policy.licensed:
        yield block(
            "not-licensed",
            "",
            target,
            observed="the licence does not include live patching",
            needed="a licence that includes it",
        )


def may_force(situation: Situation) -> Iterator[Finding]:
    """Whether the target can, and what it means that it is asked to."""
    target = situation.facts.target
    if not situation.policy.force:
        return
    if not situation.facts.capabilities.force:
        yield block(
            "unknown-action",
            "",
            target,
            observed="nothing can be forced there: it changes code only while nobody "
            "is inside",
            needed="Linux",
            remedy="leave --force out",
        )
        return
    yield warn(
        "forced",
        "",
        target,
        observed="tasks that have not left the old code in time are switched all the "
        "same",
        needed="a function that every task leaves",
        remedy="reboot soon: what such a task does next is not foreseen, and a module "
        "that is taken off so stays in the kernel",
    )


def can_replace(situation: Situation) -> Iterator[Finding]:
    if not situation.facts.capabilities.replace:
        yield block(
            "unknown-action",
            "",
            situation.facts.target,
            observed="the target cannot replace",
            needed="a target that replaces atomically",
            remedy="revert what is applied, top first, then apply the patch; between "
            "the two nothing is fixed",
        )

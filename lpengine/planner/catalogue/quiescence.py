"""QUI: getting the target to stand still."""

from lpengine.planner.catalogue.code import Code
from lpengine.planner.findings import Guidance, Severity

CODES = (
    Code(
        "LP-QUI-201",
        "QUIESCE_TIMEOUT",
        summary="Not all processors stood still within the time limit.",
        detection="The target gave up waiting for its processors.",
        remedy="try again when the host is less busy, or allow more time",
        guidance=Guidance.RETRY,
        source="Xen livepatch.c: livepatch_spin, EBUSY",
        text="All processors must come to rest at a safe point before a byte is "
        "written; the default limit is 30 ms. Long-running hypercalls and core "
        "scheduling make them late. Nothing was changed. Repeat with a longer "
        "timeout; when it never works, a reboot is what is left.",
        retryable=True,
    ),
    Code(
        "LP-QUI-202",
        "TRANSITION_STALLED",
        summary="Some tasks have not switched to the new code.",
        detection="The kernel's transition is still under way after the wait.",
        remedy="find the tasks that have not switched, and wake them",
        guidance=Guidance.RETRY,
        source="kpatch: transition stalled; Linux livepatch",
        text="Linux moves task after task, each when no patched function is on its "
        "stack. A task that sleeps inside one holds the transition open; both "
        "versions are in use until it moves.",
        retryable=True,
    ),
    Code(
        "LP-QUI-203",
        "FUNCTION_BUSY",
        summary="Somebody is executing the old function right now.",
        detection="Instruction pointers and return addresses are compared with the "
        "functions to be patched.",
        remedy="try again; allow more time if it happens repeatedly",
        guidance=Guidance.RETRY,
        source="Ksplice: code busy; Linux: EAGAIN",
        text="While a processor or thread is inside a function it must not change. "
        "The evidence names who and shows the backtrace. Applying lets it run on and "
        "tries until the deadline, so that this is a warning before, and a refusal "
        "without any change after it.",
        severity=Severity.WARN,
        retryable=True,
    ),
    Code(
        "LP-QUI-204",
        "ACTIVE_WAITQUEUE",
        summary="A guest's processor sleeps in the middle of the hypervisor.",
        detection="Guests with paging, sharing or monitoring in progress are looked "
        "for.",
        remedy="end introspection, paging or sharing of that guest",
        guidance=Guidance.RETRY,
        source="Xen arch/x86/livepatch.c: arch_livepatch_safety_check",
        text="Such a processor keeps a hypervisor stack with return addresses into "
        "the code to be patched, which breaks the rule that all stacks are empty. "
        "The subject names the guest.",
        retryable=True,
    ),
    Code(
        "LP-QUI-205",
        "FUNCTION_ALWAYS_ON_STACK",
        summary="The function never becomes idle.",
        detection="It was on somebody's stack in every one of many samples.",
        remedy="stop that thread, or patch another function",
        guidance=Guidance.EVACUATE_AND_REBOOT,
        source="Ksplice: slow code busy",
        text="Main loops and sleeping threads sit in the same functions for as long "
        "as they live. Waiting is pointless; end the thread, patch what the function "
        "calls, or reboot.",
    ),
    Code(
        "LP-QUI-206",
        "STACK_UNRELIABLE",
        summary="A stack cannot be read well enough to know who is on it.",
        detection="The unwinder gave up, or there is no unwind information.",
        remedy="none while it runs",
        guidance=Guidance.REBOOT_HOST,
        source="Linux: reliable stack traces",
        text="A stack that cannot be walked to its end might hold the function that "
        "is to be changed. Not knowing counts as yes.",
    ),
    Code(
        "LP-QUI-207",
        "PROCESS_NOT_STOPPABLE",
        summary="The process cannot be stopped or looked into.",
        detection="Attaching failed: policy, another tracer, uninterruptible sleep.",
        remedy="allow tracing and end other debuggers, then try again",
        guidance=Guidance.RESTART_PROCESS,
        source="libpulp: ETHRDATTACH; Linux: ptrace access",
        text="Patching a process needs ptrace. Yama's ptrace_scope, seccomp filters, "
        "a debugger or a thread in state D stand against it. Restarting the process "
        "picks up the fixed file instead.",
        retryable=True,
    ),
    Code(
        "LP-QUI-206",
        "FORCED_TRANSITION",
        summary="Tasks are switched although they may be inside the old code.",
        detection="It was asked for, by --force.",
        remedy="reboot soon",
        guidance=Guidance.REBOOT_HOST,
        source="Linux kernel/livepatch/transition.c: klp_force_transition",
        text="A task that sleeps in a function goes on in the old code although the "
        "kernel holds it for switched, and what it calls is already the new one. Where "
        "the two do not go together the kernel may crash. The module of a patch that "
        "comes off so is never freed: it stays until the next boot. It is the way out "
        "where a fix must come on at once and a reboot has to wait.",
        severity=Severity.WARN,
    ),
)

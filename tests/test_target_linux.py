"""The Linux target against a kernel made of files."""

import errno
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lpengine.errors import BusyError, NotFoundError, StuckError, TargetError
from lpengine.patch.model import Patch, SystemState, Violation
from lpengine.planner.facts import PatchedFunction, PatchState
from lpengine.targets.linux import LinuxTarget
from tests.fake_linux import BUILD_ID, NEVER, RELEASE, FakeKernel, module

SOON = timedelta(seconds=2)


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    return FakeKernel(tmp_path / "root")


@pytest.fixture
def target(kernel: FakeKernel, tmp_path: Path) -> LinuxTarget:
    return kernel.target(tmp_path / "state")


def put_on(target: LinuxTarget, *patches: Patch) -> None:
    for patch in patches:
        target.load(patch)
        target.apply(patch.name, SOON)


def refused(action: Callable[[], object], cause: str, answer: str) -> TargetError:
    with pytest.raises(TargetError) as caught:
        action()
    assert (caught.value.cause, caught.value.errno) == (cause, answer)
    return caught.value


def states(target: LinuxTarget) -> dict[str, PatchState]:
    return {patch.name: patch.state for patch in target.facts().loaded}


def test_a_whole_life_leaves_no_trace(kernel, target) -> None:
    before = target.facts()
    patch = module("a")
    target.load(patch)
    assert kernel.modules == []
    assert states(target) == {"a": PatchState.CHECKED}
    target.apply("a", SOON)
    assert target.facts().applied == ("a",)
    target.revert("a", SOON)
    assert kernel.modules == ["a"]
    (loaded,) = target.facts().loaded
    assert (loaded.state, loaded.reverted) == (PatchState.CHECKED, True)
    assert loaded.safe_to_reapply
    target.unload("a")
    assert kernel.modules == []
    assert target.facts() == before


def test_another_process_finds_what_this_one_did(kernel, target, tmp_path) -> None:
    put_on(target, module("a"))
    other = kernel.target(tmp_path / "state")
    assert other.facts() == target.facts()
    assert other.module("a") == module("a")
    other.revert("a", SOON)
    assert target.facts().loaded[0].reverted


def test_facts_of_a_patch_that_is_on(target) -> None:
    patch = module("a", "cmdline_proc_show", "ext4:ext4_read", states=[[1, 2]])
    put_on(target, patch)
    (loaded,) = target.facts().loaded
    assert loaded.sha256 == patch.sha256
    assert loaded.build_id == patch.build_id
    assert set(loaded.patched) == {
        PatchedFunction("", "cmdline_proc_show", 1),
        PatchedFunction("ext4", "ext4_read", 1),
    }
    assert loaded.states == (SystemState(1, 2),)


def test_facts_of_the_kernel(kernel, target) -> None:
    facts = target.facts()
    assert facts.image.build_id == BUILD_ID
    assert facts.image.version == RELEASE
    assert facts.image.boot == "boot-1"
    assert facts.capabilities.format == "linux"
    assert facts.capabilities.live_patching
    assert facts.kernel is not None
    assert facts.kernel.release == RELEASE
    assert facts.kernel.tracing
    assert not facts.kernel.signature_required
    assert not facts.kernel.modules_disabled
    assert facts.kernel.lockdown == "none"
    assert [each.name for each in facts.kernel.modules] == ["ext4"]
    kernel.put("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    kernel.put("sys/module/module/parameters/sig_enforce", "Y\n")
    kernel.put("proc/sys/kernel/ftrace_enabled", "0\n")
    kernel.put("proc/sys/kernel/modules_disabled", "1\n")
    changed = target.facts().kernel
    assert changed is not None
    assert changed.lockdown == "integrity"
    assert changed.signature_required
    assert changed.modules_disabled
    assert not changed.tracing


def test_facts_about_symbols(kernel, target) -> None:
    kernel.put("sys/kernel/tracing/enabled_functions", "kswapd (1) R I  \ttramp: 0x1\n")
    wanted = ("twice", "boot_only", "ext4:ext4_read", "do_syscall_64", "kswapd", "none")
    facts = target.facts([module("a", *wanted)])
    assert [fact.address & 0xFF for fact in facts.symbols["twice"]] == [0x20, 0x30]
    assert all(fact.traced for fact in facts.symbols["twice"])
    assert facts.symbols["boot_only"][0].init
    assert facts.symbols["ext4_read"][0].owner == "ext4"
    assert facts.symbols["do_syscall_64"][0].traced is False
    assert facts.symbols["kswapd"][0].hooked
    assert "none" not in facts.symbols
    assert facts.kernel is not None
    assert facts.kernel.unwinder == "orc"


def test_own_patches_are_no_strangers_on_a_function(kernel, target) -> None:
    put_on(target, module("a"))
    kernel.put(
        "sys/kernel/tracing/enabled_functions",
        "cmdline_proc_show (1) R I     \ttramp: 0xffffffffc0 (klp_ftrace_handler)\n",
    )
    facts = target.facts([module("b")])
    assert not facts.symbols["cmdline_proc_show"][0].hooked


def test_a_kernel_that_hides_what_it_has(kernel, target) -> None:
    for path in ("proc/kallsyms", "sys/kernel/tracing/available_filter_functions"):
        (kernel.root / path).unlink()
    facts = target.facts([module("a")])
    assert facts.kernel is not None
    assert not facts.kernel.symbols_known
    assert facts.symbols == {}


def test_busy_tasks_are_facts(kernel, target) -> None:
    kernel.task(40, "kswapd0", "kswapd kthread ret_from_fork", kernel=True)
    kernel.task(41, "cat", "schedule cmdline_proc_show seq_read_iter")
    kernel.task(42, "sh (x) y", "do_wait")
    facts = target.facts([module("a", "kswapd", "cmdline_proc_show")])
    assert [(b.who, b.function, b.resident) for b in facts.busy] == [
        ("kernel thread 40 (kswapd0)", "kswapd", True),
        ("process 41 (cat)", "cmdline_proc_show", False),
    ]
    assert target.facts().busy == ()


def test_a_transition_takes_its_time(kernel, target) -> None:
    put_on(target, module("a", on=20, off=7))
    assert 0.2 < kernel.time < 1
    target.revert("a", SOON)
    assert target.facts().applied == ()


def test_a_stalled_apply_is_called_off_and_names_who_holds_it_up(
    kernel, target
) -> None:
    kernel.task(40, "kswapd0", "kswapd kthread ret_from_fork", 0, kernel=True)
    kernel.task(41, "cat", "cmdline_proc_show", 1)
    patch = module("a", "kswapd", on=NEVER)
    target.load(patch)
    before = target.facts()
    with pytest.raises(BusyError) as caught:
        target.apply("a", SOON)
    assert caught.value.cause == "transition-stalled"
    assert "kernel thread 40 (kswapd0) in kswapd < kthread" in caught.value.message
    assert "cat" not in caught.value.message
    assert "reboot" in caught.value.hint
    assert target.facts() == before
    assert kernel.modules == []


def test_a_stalled_revert_leaves_the_patch_on(kernel, target) -> None:
    put_on(target, module("a", off=NEVER))
    kernel.task(41, "cat", "schedule new_show seq_read", 1)
    before = target.facts()
    with pytest.raises(BusyError, match=r"process 41 \(cat\) in schedule < new_show"):
        target.revert("a", SOON)
    assert target.facts() == before
    assert target.facts().applied == ("a",)


def test_a_transition_that_does_not_even_go_back_is_stuck(kernel, target) -> None:
    target.load(module("a", on=NEVER))
    kernel.task(41, "cat", "cmdline_proc_show", 0)
    tick = kernel.tick
    kernel.tick = lambda: None
    try:
        with pytest.raises(StuckError) as caught:
            target.apply("a", SOON)
    finally:
        kernel.tick = tick
    assert caught.value.left == ("a is in transition",)


@pytest.mark.parametrize("needed", [True, False])
def test_what_was_replaced_by_force_is_pinned(kernel, target, needed: bool) -> None:
    put_on(target, module("old"))
    target.load(module("all", replace=True, on=NEVER if needed else 0))
    target.replace("all", SOON, force=True)
    pinned = {patch.name: patch.pinned for patch in target.facts().loaded}
    assert pinned == {"old": needed, "all": False}


def test_force_is_only_by_name_and_remembered(kernel, target) -> None:
    put_on(target, module("a", off=NEVER))
    target.revert("a", SOON, force=True)
    (loaded,) = target.facts().loaded
    assert loaded.pinned
    error = refused(lambda: target.unload("a"), "pinned", "EAGAIN")
    assert "forced" in error.hint


def test_one_transition_at_a_time(kernel, target) -> None:
    put_on(target, module("b"))
    target.load(module("a", on=NEVER))
    kernel.insert(target._store.path("a"))
    assert target.facts().in_progress == "a"
    refused(lambda: target.revert("b", SOON), "busy", "EBUSY")
    target.load(module("c"))
    refused(lambda: target.apply("c", SOON), "busy", "EBUSY")


def test_applying_again_brings_a_fresh_module(kernel, target) -> None:
    put_on(target, module("a"))
    target.revert("a", SOON)
    target.apply("a", SOON)
    assert kernel.inserted == 2
    assert kernel.modules == ["a"]
    assert target.facts().applied == ("a",)


def test_patches_come_off_in_any_order(target) -> None:
    put_on(target, module("a"), module("b"))
    assert target.facts().applied == ("a", "b")
    target.revert("a", SOON)
    assert target.facts().applied == ("b",)


def test_replace_takes_the_others_off(kernel, target) -> None:
    put_on(target, module("a"), module("b"))
    target.load(module("c", replace=True, on=3))
    target.replace("c", SOON)
    assert target.facts().applied == ("c",)
    assert states(target)["a"] is PatchState.CHECKED
    target.unload("a")
    target.unload("b")
    assert kernel.modules == ["c"]


def test_a_module_that_does_not_replace_is_not_used_for_that(target) -> None:
    put_on(target, module("a"))
    target.load(module("b"))
    refused(lambda: target.replace("b", SOON), "not-cumulative", "EINVAL")
    assert target.facts().applied == ("a",)


@pytest.mark.parametrize(
    "files", [(), ("patched",), ("patched", "replace", "stack_order")], ids=str
)
def test_kernels_with_and_without_the_newer_files(tmp_path, files) -> None:
    target = FakeKernel(tmp_path / "root", files).target(tmp_path / "state")
    put_on(target, module("b"), module("a"))
    assert target.facts().applied == ("b", "a")
    target.load(module("c", replace=True))
    target.replace("c", SOON)
    target.revert("c", SOON)
    assert target.facts().applied == ()


@pytest.mark.parametrize(
    ("number", "log", "cause"),
    [
        (errno.ENOEXEC, "a: version magic 'x' should be 'y'", "vermagic-mismatch"),
        (
            errno.ENOEXEC,
            "a: disagrees about version of symbol module_layout",
            "module-layout-mismatch",
        ),
        (
            errno.EINVAL,
            "a: disagrees about version of symbol seq_printf",
            "symbol-version-mismatch",
        ),
        (
            errno.EINVAL,
            "a: no symbol version for seq_printf",
            "symbol-version-missing",
        ),
        (errno.ENOENT, "a: Unknown symbol nothing (err -2)", "unknown-symbol"),
        (
            errno.EKEYREJECTED,
            "Loading of unsigned module is rejected",
            "module-unsigned",
        ),
        (
            errno.EPERM,
            "Lockdown: lpengine: unsigned module loading is restricted",
            "locked-down",
        ),
        (
            errno.ENOEXEC,
            "x86/modules: Skipping invalid relocation target, existing value is "
            "nonzero for type 1",
            "relocation-target-nonzero",
        ),
        (
            errno.EINVAL,
            "livepatch: symbol 'x' not found in symbol table",
            "klp-symbol-not-found",
        ),
        (
            errno.EINVAL,
            "livepatch: unresolvable ambiguity for symbol 'x' in object 'vmlinux'",
            "symbol-ambiguous",
        ),
        (
            errno.EINVAL,
            "livepatch: symbol position '9' for symbol 'x' in object 'vmlinux' not "
            "found",
            "symbol-position",
        ),
        (
            errno.EINVAL,
            "livepatch: failed to find location for function 'do_syscall_64'",
            "function-not-traced",
        ),
        (
            errno.EBUSY,
            "livepatch: failed to register ftrace handler for function 'x' (-16)",
            "function-hooked",
        ),
        (
            errno.EINVAL,
            "livepatch: Livepatch patch (a) is not compatible with the already "
            "installed livepatches.",
            "states-incompatible",
        ),
        (
            errno.ENODEV,
            "livepatch: pre-patch callback failed for object 'vmlinux'",
            "hook-veto",
        ),
        (errno.EBUSY, "", "busy"),
        (errno.EXDEV, "", "refused"),
    ],
)
def test_the_kernels_log_tells_why(kernel, target, number, log, cause) -> None:
    target.load(module("a", errno=number, log=log))
    before = target.facts()
    error = refused(lambda: target.apply("a", SOON), cause, errno.errorcode[number])
    assert (log or "(") in error.message
    assert target.facts() == before
    target.unload("a")


def test_a_log_that_cannot_be_read_is_no_obstacle(kernel, target) -> None:
    kernel.log.unlink()
    target.load(module("a"))
    target.apply("a", SOON)
    assert target.facts().applied == ("a",)


def test_broken_modules_are_not_taken(target) -> None:
    bad = replace(
        module("a"), violations=(Violation("not-elf", "ENOEXEC", "file", "no", "yes"),)
    )
    refused(lambda: target.load(bad), "not-elf", "ENOEXEC")
    assert target.facts().loaded == ()


def test_names_are_unique(kernel, target) -> None:
    target.load(module("a"))
    refused(lambda: target.load(module("a")), "name-in-use", "EEXIST")
    refused(lambda: target.load(module("ext4")), "name-in-use", "EEXIST")


@pytest.mark.parametrize(
    ("online", "count"), [("0", 1), ("0-1", 2), ("0-3,8,10-11", 7), ("", 0), ("x", 0)]
)
def test_facts_say_how_it_was_made_and_on_what_it_runs(
    kernel, target, online: str, count: int
) -> None:
    said = f"Linux version {RELEASE} (me@here) (gcc 12) #1 SMP Debian\n"
    kernel.put("proc/version", said)
    kernel.put("sys/devices/system/cpu/online", f"{online}\n")
    image = target.facts().image
    assert (image.compiled, image.cpus) == ("(me@here) (gcc 12) #1 SMP Debian", count)


def test_no_live_patching_here(kernel, target) -> None:
    kernel.tree.livepatch.rmdir()
    assert not target.facts().capabilities.live_patching
    refused(lambda: target.load(module("a")), "no-live-patching", "ENOEXEC")


def test_actions_in_the_wrong_state(target) -> None:
    for act in (target.apply, target.replace):
        refused(lambda act=act: act("none", SOON), "not-found", "ENOENT")
    refused(lambda: target.unload("none"), "not-found", "ENOENT")
    refused(lambda: target.revert("none", SOON), "wrong-state", "EINVAL")
    put_on(target, module("a"))
    refused(lambda: target.apply("a", SOON), "wrong-state", "EINVAL")
    refused(lambda: target.unload("a"), "unload-applied", "EAGAIN")
    target.revert("a", SOON)
    refused(lambda: target.revert("a", SOON), "wrong-state", "EINVAL")


def test_a_boot_clears_what_waited(kernel, target, tmp_path) -> None:
    put_on(target, module("a"))
    target.load(module("b"))
    kernel.boot("boot-2")
    after = kernel.target(tmp_path / "state")
    assert after.facts().loaded == ()
    with pytest.raises(NotFoundError):
        after.module("a")
    after.load(module("a"))
    assert sorted(p.name for p in (tmp_path / "state/modules").iterdir()) == ["a.ko"]


def test_patches_of_others_are_seen(kernel, target, tmp_path) -> None:
    path = tmp_path / "theirs.ko"
    path.write_bytes(module("theirs").raw)
    kernel.insert(path)
    (loaded,) = target.facts().loaded
    assert (loaded.name, loaded.state) == ("theirs", PatchState.APPLIED)
    assert loaded.sha256 == ""
    assert loaded.states is None
    with pytest.raises(NotFoundError, match="not at hand"):
        target.module("theirs")
    target.revert("theirs", SOON)
    target.unload("theirs")
    assert kernel.modules == []


def test_a_kept_module_that_was_changed_is_not_used(target) -> None:
    target.load(module("a"))
    target._store.path("a").write_bytes(b"{}")
    with pytest.raises(NotFoundError, match="not the module"):
        target.apply("a", SOON)


def test_a_damaged_record_is_named(target, tmp_path) -> None:
    target.load(module("a"))
    (tmp_path / "state/patches.json").write_text("[")
    with pytest.raises(Exception, match=r"patches\.json"):
        target.facts()

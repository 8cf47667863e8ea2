"""The target for the running Xen, against a hypervisor in memory."""

import errno
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from lpengine.core.hypercall import Action, Hypervisor
from lpengine.errors import (
    BusyError,
    InputError,
    NotFoundError,
    NotPermittedError,
    TargetError,
)
from lpengine.patch.model import Patch
from lpengine.patch.xen.reader import read_payload
from lpengine.patch.xen.spec import FunctionSpec, SectionSpec
from lpengine.patch.xen.writer import write_payload
from lpengine.planner import PatchState, Severity, Verdict, plan_apply
from lpengine.planner.facts import Span
from lpengine.report.disassembly import redirected_rows
from lpengine.targets.xen import XenTarget
from lpengine.targets.xen_answers import name_of
from lpengine.targets.xen_facts import Observer
from lpengine.targets.xen_image import RunningImage
from lpengine.targets.xen_store import Store
from tests.fake_xen import BUILD_ID, FakeXen, Payload
from tests.payloads import good_spec

LONG, SHORT = timedelta(seconds=6), timedelta(milliseconds=30)
MILLISECOND = 1_000_000


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Bench:
    """A dom0: processes come and go, boots too."""

    directory: Path
    xen: FakeXen = field(default_factory=FakeXen)
    boot: str = "boot-1"
    image: RunningImage | None = None
    version: str = "4.17.7"

    def target(self) -> XenTarget:
        clock = Clock()
        store = Store(self.directory / "xen", self.boot)
        observer = Observer(
            "xen",
            self.boot,
            store,
            build_id=lambda: self.xen.build_id,
            version=lambda: self.version,
            compiled=lambda: "gcc 12, by root, today",
            cpus=lambda: Hypervisor(self.xen).cpus(),
            find_image=lambda _: self.image,
        )
        return XenTarget(
            lambda: Hypervisor(self.xen),
            store,
            observer,
            clock=clock,
            sleep=clock.sleep,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def make(name: str = "a", title: str = "", **changes) -> Patch:
    plain = {
        "functions": (FunctionSpec("f", 40, b"\xc3"),),
        "hooks": (),
        "sections": (),
        "symbols": (),
        "alternatives": (),
        "exceptions": (),
        "bug_frames": (),
        "metadata": (("title", title or name),),
    }
    return read_payload(write_payload(good_spec(**{**plain, **changes})), name)


def put_on(target: XenTarget, patch: Patch, timeout: timedelta = LONG) -> None:
    target.load(patch)
    target.apply(patch.name, timeout)


def test_a_whole_life(bench: Bench) -> None:
    target, patch = bench.target(), make()
    put_on(target, patch)
    [loaded] = target.facts().loaded
    assert loaded.state is PatchState.APPLIED
    assert (loaded.sha256, loaded.build_id) == (patch.sha256, patch.build_id)
    assert loaded.metadata == patch.metadata
    assert target.facts().applied == ("a",)
    target.revert("a", LONG)
    assert target.facts().loaded[0].reverted
    target.unload("a")
    assert target.facts().loaded == ()


def test_another_process_knows_what_this_one_did(bench: Bench) -> None:
    first, second = make(), make("b")
    put_on(bench.target(), first)
    put_on(bench.target(), second)
    assert bench.target().facts().applied == ("a", "b")
    assert bench.target().module("a") == first
    assert bench.target().facts() == bench.target().facts()


def test_looking_writes_nothing(bench: Bench) -> None:
    bench.target().facts()
    assert list(bench.directory.iterdir()) == []


# Patience


def test_each_attempt_gives_the_processors_more_time(bench: Bench) -> None:
    bench.xen.script = [("status", errno.EBUSY)] * 3
    target = bench.target()
    put_on(target, make())
    asked = [each // MILLISECOND for each in bench.xen.timeouts]
    assert asked == [30, 200, 1000, 4000]
    assert target.facts().applied == ("a",)


def test_no_attempt_outlasts_the_callers_time(bench: Bench) -> None:
    bench.xen.script = [("status", errno.EBUSY)] * 10_000
    target = bench.target()
    target.load(make())
    with pytest.raises(BusyError) as caught:
        target.apply("a", timedelta(milliseconds=100))
    assert caught.value.cause == "quiesce-timeout"
    assert max(bench.xen.timeouts) <= 100 * MILLISECOND
    assert target.facts().applied == ()


def test_another_action_under_way_is_waited_for(bench: Bench) -> None:
    bench.xen.script = [errno.EBUSY] * 5
    put_on(bench.target(), make())
    assert len(bench.xen.timeouts) == 6


def test_busy_for_ever_is_an_error(bench: Bench) -> None:
    bench.xen.script = [errno.EBUSY] * 10_000
    target = bench.target()
    target.load(make())
    with pytest.raises(BusyError) as caught:
        target.apply("a", SHORT)
    assert caught.value.errno == "EBUSY"


def test_what_is_not_on_top_is_not_tried_again(bench: Bench) -> None:
    target = bench.target()
    put_on(target, make())
    put_on(target, make("b"))
    before = len(bench.xen.timeouts)
    with pytest.raises(TargetError, match="Top is b") as caught:
        target.revert("a", LONG)
    assert (caught.value.cause, caught.value.errno) == ("not-top", "EBUSY")
    assert len(bench.xen.timeouts) == before + 1


def test_an_unload_waits_for_its_turn(bench: Bench) -> None:
    target = bench.target()
    target.load(make())
    bench.xen.script = [errno.EBUSY] * 3
    target.unload("a")
    assert bench.xen.loaded == []


# States


@pytest.mark.parametrize(
    ("verb", "applied"), [("apply", True), ("replace", True), ("revert", False)]
)
def test_the_wrong_state_is_an_error_not_a_success(
    bench: Bench, verb: str, applied: bool
) -> None:
    target = bench.target()
    target.load(make())
    if applied:
        target.apply("a", LONG)
    before = list(bench.xen.actions)
    with pytest.raises(TargetError) as caught:
        getattr(target, verb)("a", LONG)
    assert caught.value.cause == "wrong-state"
    assert bench.xen.actions == before


def test_an_action_that_did_nothing_is_an_error(bench: Bench) -> None:
    """Another program has been there between looking and acting."""
    target = bench.target()
    put_on(target, make())
    payload = bench.xen.loaded[0]

    def back_again() -> None:
        bench.xen.end(payload, False)
        bench.xen.do = lambda *_: bench.xen.end(payload, True)

    bench.xen.script = [back_again]
    with pytest.raises(TargetError) as caught:
        target.revert("a", LONG)
    assert caught.value.cause == "wrong-state"


def test_a_replace_takes_all_others_off(bench: Bench) -> None:
    target = bench.target()
    put_on(target, make())
    put_on(target, make("b"))
    target.load(make("c"))
    target.replace("c", LONG)
    facts = target.facts()
    assert facts.applied == ("c",)
    assert [one.reverted for one in facts.loaded] == [True, True, False]


def test_spent_data_shows_in_the_status_only(bench: Bench) -> None:
    target = bench.target()
    put_on(target, make(sections=(SectionSpec(".data", b"x", 3),)))
    target.revert("a", LONG)
    bench.xen.say("a: can't revert as payload has .data. Please unload")
    with pytest.raises(TargetError) as caught:
        target.apply("a", LONG)
    assert (caught.value.cause, caught.value.errno) == ("reapply-with-data", "EINVAL")


def test_a_stale_sign_of_an_action_does_not_block_for_ever(bench: Bench) -> None:
    """Xen leaves EAGAIN behind where an action could not be begun."""
    target = bench.target()
    target.load(make())
    bench.xen.loaded[0].polls = 10**9
    assert target.facts().in_progress == "a"


# Refusals


@pytest.mark.parametrize(
    ("number", "line", "cause"),
    [
        (errno.EINVAL, "check against hypervisor build-id failed!", "xen-build-id-"),
        (errno.ENOENT, "Unknown symbol: x", "unknown-symbol"),
        (errno.ENOENT, "Could not resolve old address of f", "old-function-not-found"),
        (errno.EEXIST, "duplicate new symbol: x", "duplicate-symbol"),
        (errno.ENOMEM, "", "out-of-memory"),
        (errno.EOVERFLOW, "", "relocation-overflow"),
        (errno.ENODATA, "", "no-xen-build-id"),
        (errno.EPERM, "", "not-privileged"),
    ],
)
def test_an_upload_is_refused_for_a_reason(
    bench: Bench, number: int, line: str, cause: str
) -> None:
    target = bench.target()
    target.facts()
    bench.xen.refuse = {"a": number}
    if line:
        bench.xen.say(f"a: {line}")
    with pytest.raises(TargetError) as caught:
        target.load(make())
    assert caught.value.cause.startswith(cause)
    assert caught.value.errno == name_of(number)
    assert line in caught.value.message
    with pytest.raises(NotFoundError):
        target.module("a")


def test_xens_older_words_are_no_evidence(bench: Bench) -> None:
    bench.xen.say("a: Unknown symbol: x")
    target = bench.target()
    target.facts()
    bench.xen.refuse = {"a": errno.EINVAL}
    with pytest.raises(TargetError) as caught:
        target.load(make())
    assert "Unknown symbol" not in caught.value.message


def test_a_violation_that_xen_does_not_explain_is_named(bench: Bench) -> None:
    bench.xen.refuse = {"a": errno.EOPNOTSUPP}
    wrong = make(functions=(FunctionSpec("f", 40, b"\xc3", version=1),))
    with pytest.raises(TargetError) as caught:
        bench.target().load(wrong)
    assert caught.value.cause == "wrong-version"
    assert caught.value.errno == "EOPNOTSUPP"


def test_a_name_in_use(bench: Bench) -> None:
    target = bench.target()
    target.load(make())
    with pytest.raises(TargetError) as caught:
        target.load(make(title="other"))
    assert caught.value.cause == "name-in-use"
    assert target.module("a") == make()


@pytest.mark.parametrize("verb", ["apply", "revert", "replace"])
def test_nothing_of_that_name(bench: Bench, verb: str) -> None:
    with pytest.raises(TargetError) as caught:
        getattr(bench.target(), verb)("none", LONG)
    assert (caught.value.cause, caught.value.errno) == ("not-found", "ENOENT")


def test_unloading_what_is_applied(bench: Bench) -> None:
    target = bench.target()
    put_on(target, make())
    with pytest.raises(TargetError) as caught:
        target.unload("a")
    assert (caught.value.cause, caught.value.errno) == ("unload-applied", "EINVAL")


# Modules


def test_facts_say_how_it_was_made_and_on_what_it_runs(bench: Bench) -> None:
    image = bench.target().facts().image
    assert (image.compiled, image.cpus) == ("gcc 12, by root, today", 8)


def test_a_foreign_payload_is_listed_without_its_bytes(bench: Bench) -> None:
    bench.xen.add(Payload("foreign", b"", b"title=theirs\0", applied=True))
    target = bench.target()
    [loaded] = target.facts().loaded
    assert loaded.metadata == (("title", "theirs"),)
    assert (loaded.sha256, loaded.build_id) == ("", "")
    assert target.facts().applied == ("foreign",)
    with pytest.raises(NotFoundError, match="another program"):
        target.module("foreign")


def test_a_boot_makes_forget(bench: Bench) -> None:
    put_on(bench.target(), make())
    bench.boot, bench.xen = "boot-2", FakeXen()
    target = bench.target()
    assert target.facts().loaded == ()
    with pytest.raises(NotFoundError):
        target.module("a")
    put_on(target, make())
    assert target.facts().applied == ("a",)


def test_anothers_payload_of_the_same_name_is_not_ours(bench: Bench) -> None:
    target = bench.target()
    target.load(make())
    bench.xen.loaded[0] = Payload("a", b"", b"title=theirs\0")
    with pytest.raises(NotFoundError):
        target.module("a")
    assert target.facts().loaded[0].sha256 == ""


def test_bytes_that_nothing_refers_to_are_dropped(bench: Bench) -> None:
    target = bench.target()
    for number in range(5):
        target.load(make(title=str(number)))
        target.unload("a")
    assert len(list((target.state_directory / "modules").iterdir())) <= 2


def test_damaged_memory_is_one_clear_line(bench: Bench) -> None:
    put_on(bench.target(), make())
    (bench.directory / "xen/state.json").write_text("{")
    with pytest.raises(InputError, match=r"state\.json"):
        bench.target().facts()


def test_damaged_modules_are_noticed(bench: Bench) -> None:
    target, patch = bench.target(), make()
    target.load(patch)
    (bench.directory / "xen/modules" / patch.sha256).write_bytes(b"x")
    fresh = bench.target()
    with pytest.raises(NotFoundError):
        fresh.module("a")
    assert fresh.facts().loaded[0].sha256 == ""


# Facts and plans


def test_a_hypervisor_that_does_not_answer(bench: Bench) -> None:
    bench.xen.everything = errno.ENOSYS
    assert not bench.target().facts().capabilities.live_patching
    bench.xen.everything = errno.EPERM
    facts = bench.target().facts()
    assert facts.capabilities.live_patching
    assert not facts.capabilities.privileged
    bench.xen.interface, bench.xen.everything = 0x99, 0
    assert not bench.target().facts().capabilities.interface_known
    plan = plan_apply([make()], bench.target().facts())
    assert plan.verdict is Verdict.REFUSED


def test_no_xen_at_all(bench: Bench) -> None:
    target = bench.target()
    missing = FileNotFoundError(errno.ENOENT, "No such file", "/dev/xen/privcmd")
    denied = PermissionError(errno.EACCES, "Permission denied", "/dev/xen/privcmd")

    def opened(error: OSError):
        def fail():
            raise error

        target._open_calls = fail
        return target

    assert not opened(missing).facts().capabilities.live_patching
    with pytest.raises(TargetError, match="dom0"):
        opened(missing).load(make())
    assert not opened(denied).facts().capabilities.privileged
    with pytest.raises(NotPermittedError, match="privcmd"):
        opened(denied).load(make())


def test_without_symbols_the_plan_says_what_it_could_not_check(bench: Bench) -> None:
    target, patch = bench.target(), make()
    plan = plan_apply([patch], target.facts([patch]))
    assert plan.verdict is not Verdict.REFUSED
    [unseen] = [f for f in plan.findings if f.cause == "code-not-seen"]
    assert unseen.severity is Severity.WARN
    assert "dbg" in unseen.remedy
    foreign = make(xen_depends="cd" * 20)
    refused = plan_apply([foreign], target.facts([foreign]))
    assert "xen-build-id-mismatch" in {f.cause for f in refused.findings}


def test_the_image_tells_names_and_code(bench: Bench, hv) -> None:
    bench.image, bench.xen.build_id = RunningImage(hv), hv.build_id
    (symbol,) = hv.symbols.named("xen_major_version")
    functions = (FunctionSpec("xen_major_version", symbol.size, b"\xc3"),)
    patch = make(functions=functions, depends=hv.build_id, xen_depends=hv.build_id)
    target = bench.target()
    facts = target.facts([patch])
    assert facts.symbols["xen_major_version"][0].address == symbol.value
    assert facts.code[symbol.value].live == facts.code[symbol.value].shipped
    assert facts.image.text.end > facts.image.text.start
    assert plan_apply([patch], facts).verdict is not Verdict.REFUSED
    put_on(target, patch)
    facts = target.facts([patch])
    code = facts.code[symbol.value]
    assert code.redirected_by == ("a",)
    assert code.live != code.shipped
    assert code.live[5:] == code.shipped[5:]
    assert facts.loaded[0].functions[0].start == symbol.value
    # Only Xen knows where it has put the new code.
    assert code.unsure == (Span(symbol.value + 1, symbol.value + 5),)
    (row,) = redirected_rows(
        code.live, symbol.value, {}, "xen_major_version of a", code.unsure
    )
    assert "e9 ?? ?? ?? ??" in row
    assert row.endswith("jmp ?  <xen_major_version of a>")


def test_the_version_is_the_images_whatever_a_patch_makes_it_say(bench: Bench) -> None:
    target = bench.target()
    put_on(target, make())
    bench.version = "4.17"
    assert target.facts().image.version == "4.17.7"
    target.revert("a", LONG)
    bench.version = "4.17.7"
    assert bench.target().facts().image.version == "4.17.7"


def test_the_build_id_of_the_fake_is_the_payloads() -> None:
    assert make().image_build_id == BUILD_ID
    assert Action.APPLY == 3


def expectation_plan(bench: Bench, hv, expected: bytes, *hidden: int):
    """The plan's findings about an expectation of xen_major_version's first bytes,
    of which those at the offsets `hidden` are what Xen may have rewritten."""
    bench.image, bench.xen.build_id = RunningImage(hv), hv.build_id
    (symbol,) = hv.symbols.named("xen_major_version")
    function = FunctionSpec(
        "xen_major_version", symbol.size, b"\xc3", expectation=expected
    )
    patch = make(functions=(function,), depends=hv.build_id, xen_depends=hv.build_id)
    facts = bench.target().facts([patch])
    code = facts.code[symbol.value]
    spans = tuple(Span(symbol.value + n, symbol.value + n + 1) for n in hidden)
    facts = replace(facts, code={symbol.value: replace(code, unsure=spans)})
    found = plan_apply([patch], facts).findings
    return [f.severity for f in found if f.cause == "expectation-mismatch"]


def test_bytes_that_xen_may_have_rewritten_are_not_held_against_a_patch(
    bench: Bench, hv
) -> None:
    (symbol,) = hv.symbols.named("xen_major_version")
    shipped = bytes(hv.read(symbol.value, 5))
    other = bytes([shipped[0], shipped[1] ^ 1, *shipped[2:]])
    assert expectation_plan(bench, hv, shipped) == []
    assert expectation_plan(bench, hv, other) == [Severity.BLOCK]
    assert expectation_plan(bench, hv, other, 1) == [Severity.WARN]
    assert expectation_plan(bench, hv, other, 2) == [Severity.BLOCK]
    assert expectation_plan(bench, hv, shipped, 2) == [Severity.WARN]
    assert expectation_plan(bench, hv, shipped, 9) == []

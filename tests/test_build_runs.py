"""What was built is planned without objection, applied to an emulated machine, does
what its source says, and comes off again without a trace."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from lpengine.elf import Image, open_image
from lpengine.errors import BuildError
from lpengine.machine import EmulatedMachine
from lpengine.patch.xen.build import Built, build_asm, build_c
from lpengine.patch.xen.reader import read_payload
from lpengine.planner import Verdict, plan_apply
from lpengine.targets.machine import MachineTarget

SOON = timedelta(seconds=5)
EXTRA = {"xen_extra_version": ""}
VERSIONS = ("xen_major_version", "xen_minor_version", "xen_extra_version")

Effect = Callable[[EmulatedMachine], object]


def calling(name: str, *arguments: int) -> Effect:
    return lambda machine: machine.call_by_name(name, arguments)


def extra_version(machine: EmulatedMachine) -> object:
    return machine.read_string(machine.call_by_name("xen_extra_version"))


def versions(machine: EmulatedMachine) -> object:
    numbers = [machine.call_by_name(name) for name in VERSIONS[:2]]
    return (*numbers, extra_version(machine))


# Source, what it replaces, how to see it, before, after.
CASES = [
    ("extra_version.c", EXTRA, extra_version, ".7", "+LP1"),
    ("with_data.c", {"count_call": ""}, calling("count_call"), 8, 1007),
    ("with_bss.c", {"next_ticket": ""}, calling("next_ticket"), 1000, 0),
    ("hooks.c", EXTRA, extra_version, ".7", "+HOOKS"),
    ("load_hooks.c", EXTRA, extra_version, ".7", "+LOADED"),
    ("veto.c", EXTRA, extra_version, ".7", "+VETO"),
    ("statics.c", {"twin_add": ""}, calling("twin_add", 1), 505, 584),
    (
        "special_sections.c",
        {"xen_minor_version": ""},
        calling("xen_minor_version"),
        17,
        100,
    ),
    (
        "several.c",
        dict.fromkeys(VERSIONS, ""),
        versions,
        (4, 17, ".7"),
        (5, 99, "+THREE"),
    ),
    (
        "renamed.c",
        {"operate_multiply": "safe_multiply"},
        calling("dispatch", 2, 1 << 33, 1 << 33),
        0,
        0,
    ),
    ("dispatcher.c", {"dispatch": ""}, calling("dispatch", 1, 2, 5), 2**64 - 3, 32),
]


class Bench:
    """A machine, its target, and the image's memory as it was at first."""

    def __init__(self, image: Image, directory: Path, features: tuple[int, ...] = ()):
        self.image = image
        self.machine = EmulatedMachine.from_image(image, features=features)
        self.target = MachineTarget(self.machine, "emulated:here", directory)

    def memory(self) -> bytes:
        start = self.image.symbols.named("_stext")[0].value
        end = self.image.symbols.named("_end")[0].value
        return self.machine.read(start, end - start)

    def put_on(self, built: Built) -> None:
        patch = read_payload(built.payload, built.name)
        plan = plan_apply([patch], self.target.facts([patch]))
        blocking = [f for f in plan.findings if f.severity == "block"]
        assert blocking == []
        assert plan.verdict is Verdict.READY
        self.target.load(patch)
        self.target.apply(built.name, SOON)

    def take_off(self, built: Built) -> None:
        self.target.revert(built.name, SOON)
        self.target.unload(built.name)


@pytest.fixture
def bench(hv: Image, tmp_path: Path) -> Iterator[Bench]:
    return Bench(hv, tmp_path)


@pytest.mark.parametrize(("source", "replacements", "effect", "before", "after"), CASES)
def test_built_from_c(
    bench: Bench,
    hv: Image,
    patch_sources: Path,
    tmp_path: Path,
    source: str,
    replacements: dict[str, str],
    effect: Effect,
    before: object,
    after: object,
) -> None:
    built = build_c(patch_sources / source, replacements, hv)
    assert effect(Bench(hv, tmp_path).machine) == before
    bench.put_on(built)
    assert effect(bench.machine) == after
    bench.take_off(built)
    assert bench.target.facts().loaded == ()


def test_text_is_as_before_after_unload(
    bench: Bench, hv: Image, patch_sources: Path
) -> None:
    before = bench.memory()
    built = build_c(patch_sources / "several.c", dict.fromkeys(VERSIONS, ""), hv)
    bench.put_on(built)
    assert bench.memory() != before
    bench.take_off(built)
    assert bench.memory() == before


def test_alternatives_follow_the_features_of_the_cpu(
    hv: Image, patch_sources: Path, tmp_path: Path
) -> None:
    bench = Bench(hv, tmp_path, features=(16,))
    function = "xen_minor_version"
    source = patch_sources / "special_sections.c"
    bench.put_on(build_c(source, {function: ""}, hv))
    assert bench.machine.call_by_name(function) == 101


def test_a_stacked_payload_goes_on_top(
    bench: Bench, hv: Image, patch_sources: Path
) -> None:
    below = build_c(patch_sources / "extra_version.c", EXTRA, hv)
    again = patch_sources / "extra_version_again.c"
    above = build_c(again, EXTRA, hv, depends=below.build_id)
    bench.put_on(below)
    bench.put_on(above)
    assert extra_version(bench.machine) == "+LP2"
    bench.take_off(above)
    assert extra_version(bench.machine) == "+LP1"


def test_two_payloads_with_the_same_hooks_are_loaded_together(
    bench: Bench, hv: Image, patch_sources: Path
) -> None:
    below = build_c(patch_sources / "hooks.c", EXTRA, hv)
    above = build_c(patch_sources / "hooks_only.c", {}, hv, depends=below.build_id)
    bench.put_on(below)
    bench.put_on(above)
    bench.take_off(above)
    bench.take_off(below)
    log = bench.image.symbols.named("event_log")[0].value
    count = bench.machine.call_by_name("events_recorded")
    events = [
        int.from_bytes(bench.machine.read(log + 8 * index, 8), "little")
        for index in range(count)
    ]
    # 1 load, 2 unload, 3 preapply, 4 apply, 5 postapply, 6 prerevert, 7 revert,
    # 8 postrevert; load and unload are part of what apply and revert hooks replace.
    assert events == [*(3, 1, 5), *(3, 4, 5, 6, 7, 8), *(6, 2, 8)]


def test_a_short_function_is_redirected_through_its_padding(
    bench: Bench, hv: Image, tmp_path: Path
) -> None:
    source = tmp_path / "patch.c"
    source.write_text("int short_padded(void) { return 42; }")
    before = bench.memory()
    built = build_c(source, {"short_padded": ""}, hv)
    bench.put_on(built)
    assert bench.machine.call_by_name("short_padded") == 42
    bench.take_off(built)
    assert bench.memory() == before


def test_built_from_assembly(bench: Bench, hv: Image) -> None:
    code = """
        add qword ptr [rip + calls], 100
        call count_call
        lea rax, [rax + 2]
        jmp __x86_return_thunk
    """
    built = build_asm("twin_add", code, hv)
    bench.put_on(built)
    assert bench.machine.call_by_name("twin_add", [5]) == 7 + 100 + 1 + 2
    bench.take_off(built)
    assert bench.machine.call_by_name("twin_add", [1]) == 505


def test_an_emergency_stop(bench: Bench, hv: Image) -> None:
    built = build_asm("dispatch", "mov rax, -38; ret", hv)
    bench.put_on(built)
    assert bench.machine.call_by_name("dispatch", [0, 1, 1]) == 2**64 - 38
    bench.take_off(built)
    assert bench.machine.call_by_name("dispatch", [0, 1, 1]) == 2


def is_planned(target: MachineTarget, name: str, image: Image) -> bool:
    """Whether a stub for `name` is planned; False where none could be built."""
    try:
        built = build_asm(name, "mov eax, -38; ret", image, name="stub")
    except BuildError:
        return False
    patch = read_payload(built.payload, built.name)
    plan = plan_apply([patch], target.facts([patch]))
    assert plan.verdict is Verdict.READY, (name, plan.findings)
    return True


def test_every_function_is_refused_by_the_builder_or_planned(bench: Bench) -> None:
    names = {each.qualified_name for each in bench.image.symbols if each.is_function}
    planned = {n for n in names if is_planned(bench.target, n, bench.image)}
    assert names - planned == {
        "boot_again",
        "boot_setup",
        "endbr_eight",
        "loop_into_start",
        "short_tight",
    }


@pytest.mark.system
def test_functions_of_debians_xen_are_refused_or_planned(
    xen_image: Path, tmp_path: Path
) -> None:
    image = open_image(xen_image)
    target = Bench(image, tmp_path).target
    names = {each.qualified_name for each in image.symbols if each.is_function}
    chosen = sorted(names)[::10]
    assert sum(is_planned(target, name, image) for name in chosen) > len(chosen) // 2


@pytest.mark.system
def test_debians_xen_says_another_version(
    xen_image: Path, patch_sources: Path, tmp_path: Path
) -> None:
    image = open_image(xen_image)
    bench = Bench(image, tmp_path)
    before = bench.memory()
    built = build_c(patch_sources / "extra_version.c", EXTRA, image)
    shipped = extra_version(bench.machine)
    bench.put_on(built)
    assert extra_version(bench.machine) == "+LP1"
    bench.take_off(built)
    assert extra_version(bench.machine) == shipped != "+LP1"
    assert bench.memory() == before


def test_accesses_through_a_global_offset_table_become_direct(
    bench: Bench, tmp_path: Path
) -> None:
    source = tmp_path / "patch.c"
    source.write_text(
        "#pragma GCC visibility push(default)\n"
        "extern unsigned long calls;\n"
        "extern unsigned long twin_secret(unsigned long) __attribute__((noplt));\n"
        "unsigned long count_call(void)\n"
        "{ calls += 5; return calls + twin_secret(1) * 1000; }\n"
    )
    built = build_c(source, {"count_call": ""}, bench.image)
    bench.put_on(built)
    assert bench.machine.call_by_name("count_call") == 12 + 43 * 1000


def test_a_static_local_is_reached_by_its_compiled_name(
    bench: Bench, tmp_path: Path
) -> None:
    source = tmp_path / "patch.c"
    source.write_text(
        'extern unsigned long ticket LIVEPATCH_STATIC("common/counter.c", ticket.0);\n'
        "unsigned long next_ticket(void) { return ticket += 10; }\n"
    )
    bench.put_on(build_c(source, {"next_ticket": ""}, bench.image))
    assert bench.machine.call_by_name("next_ticket") == 1010


def test_debugging_information_is_left_out(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "patch.c"
    source.write_text("unsigned long count_call(void) { return 3; }\n")
    plain, debug = (
        build_c(source, {"count_call": ""}, bench.image, flags=flags)
        for flags in ((), ("-g3",))
    )
    assert plain.payload == debug.payload

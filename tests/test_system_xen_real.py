"""The real hypervisor: what was proven in the emulated machine is applied to
Debian's Xen in its dom0, and what would kill it never gets there."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

import lpengine
from lpengine.elf import Image, open_image
from lpengine.elf.constants import SHF_ALLOC, SHF_WRITE
from lpengine.hosts.lab.initramfs import python_command
from lpengine.patch.xen.spec import AlternativeSpec, FunctionSpec, Place, SectionSpec
from tests.agreement import EXTRA, Xen
from tests.payloads import PLT32, RET, Edit

pytestmark = pytest.mark.system
ROOT = Path(__file__).parent.parent
SAYS = 'const char *xen_extra_version(void)\n{\n\treturn "%s";\n}\n'
CYCLES = 200


def deadly(image: Image) -> dict[str, bytes]:
    """Cause -> a payload that Xen 4.17 takes and dies or suffers of."""
    xen = Xen(image)
    plain = xen.raw(xen.like())
    data = SectionSpec(".data", bytes(8), SHF_ALLOC | SHF_WRITE, alignment=8)
    foreign = AlternativeSpec(Place(".text"), 5, b"\x90" * 5, 21 * 32)
    return {
        "nop-underflow": xen.raw(FunctionSpec(EXTRA, xen.size(EXTRA), new_size=0)),
        "function-twice": xen.raw(xen.like(), xen.like(symbol="")),
        "init-target": xen.raw(FunctionSpec("xen_build_init", 301, RET)),
        "init-reference": xen.calling(PLT32, "xen_build_init"),
        "section-not-allocated": Edit(plain).set(".livepatch.depends", flags=0).done(),
        "foreign-alternatives": xen.raw(xen.like(), alternatives=(foreign,)),
        "zero-alignment": Edit(xen.raw(xen.like(), sections=(data,)))
        .set(".data", alignment=0)
        .done(),
        "nop-partial-instruction": xen.raw(
            FunctionSpec(EXTRA, xen.size(EXTRA), new_size=3)
        ),
        "wrong-old-size": xen.raw(xen.like(old_size=xen.size(EXTRA) - 1)),
    }


@pytest.fixture(scope="module")
def payloads(xen_image: Path, tmp_path_factory) -> Path:
    there = tmp_path_factory.mktemp("payloads")
    for name, says, below in (
        ("first", "+LP-FIRST", None),
        ("second", "+LP-SECOND", there / "first.livepatch"),
        ("cumulative", "+LP-ALL", None),
    ):
        (there / f"{name}.c").write_text(SAYS % says)
        built = lpengine.build_c(
            there / f"{name}.c", {EXTRA: EXTRA}, xen_image, depends=below
        )
        (there / f"{name}.livepatch").write_bytes(built.payload)
    image = open_image(xen_image)
    xen = Xen(image)
    data = SectionSpec(".data", bytes(8), SHF_ALLOC | SHF_WRITE, alignment=8)
    (there / "spent.livepatch").write_bytes(xen.raw(xen.like(), sections=(data,)))
    (there / "deadly").mkdir()
    for cause, raw in deadly(image).items():
        (there / "deadly" / f"{cause}.livepatch").write_bytes(raw)
    return there


@pytest.fixture(scope="module")
def in_dom0(xen_guest, xen_image: Path):
    def run(*argv: object) -> bytes:
        symbols = ["env", f"LPENGINE_XEN_SYMS={xen_image}"]
        words = [*symbols, *python_command(), *map(str, argv)]
        done = xen_guest.run(words, timeout=timedelta(minutes=4))
        assert done.status == 0, (done.stdout + done.stderr).decode()
        return done.stdout

    return run


@pytest.fixture(scope="module")
def seen(in_dom0, payloads: Path) -> dict:
    return json.loads(in_dom0(ROOT / "tests/xen_life.py", payloads))


@pytest.fixture(scope="module")
def life(seen: dict) -> dict:
    return seen["life"]


def test_the_payload_was_proven_in_the_emulated_machine(
    payloads: Path, xen_image: Path, tmp_path: Path
) -> None:
    emulated = lpengine.emulate(
        [payloads / "first.livepatch"],
        xen_image,
        calls=[(EXTRA, [], "string")],
        state_directory=tmp_path,
    )
    assert emulated.calls[0].patched.value == "+LP-FIRST"
    assert emulated.restored


def test_the_same_file_changes_what_the_hypervisor_says(life: dict) -> None:
    before = life["before"]
    assert before["extra"].startswith(".")
    assert life["plan"] == {"verdict": "ready", **before}
    assert life["apply"]["outcome"] == "done"
    assert life["apply"]["extra"] == "+LP-FIRST"
    assert life["apply"]["applied"] == ["first"]
    assert life["apply"]["build_id"] == before["build_id"]
    assert life["apply"]["version"] == before["version"]
    assert life["again"]["outcome"] == "nothing"


def test_stacked_and_dependent(life: dict) -> None:
    assert life["stacked"]["applied"] == ["first", "second"]
    assert life["stacked"]["extra"] == "+LP-SECOND"
    assert life["not the top"]["causes"] == ["not-top"]
    assert life["both at once"]["applied"] == ["first", "second"]


def test_replaced_reverted_unloaded(life: dict) -> None:
    assert life["replaced"]["applied"] == ["cumulative"]
    assert life["replaced"]["extra"] == "+LP-ALL"
    assert life["reverted"]["extra"] == life["before"]["extra"]
    assert life["unloaded"]["loaded"] == []
    assert life["after"] == {"outcome": "done", "causes": [], **life["before"]}


def test_data_is_fresh_the_second_time(life: dict) -> None:
    assert life["with data"]["outcome"] == "done"
    assert life["with data, afresh"]["outcome"] == "done"
    assert life["with data, afresh"]["applied"] == ["spent"]


def test_what_another_program_loaded_is_seen(seen: dict) -> None:
    assert seen["foreign"]["listed"]["loaded"] == ["foreign"]
    assert seen["foreign"]["same build id"]["outcome"] == "rolled-back"
    assert "build id" in seen["foreign"]["same build id"]["error"]
    assert seen["foreign"]["same build id"]["loaded"] == ["foreign"]
    assert seen["foreign"]["removed"]["loaded"] == []


def test_what_would_kill_it_never_gets_there(
    seen: dict, payloads: Path, xen_guest
) -> None:
    assert set(seen["deadly"]) == {p.stem for p in (payloads / "deadly").iterdir()}
    for cause, refused in seen["deadly"].items():
        assert refused["outcome"] == "refused", cause
        assert cause in refused["causes"]
        assert refused["loaded"] == []
        assert f"livepatch: {cause}" not in xen_guest.console


def test_the_command_line(xen_guest, payloads: Path) -> None:
    def lpengine_cli(*argv: object) -> dict:
        words = ["lpengine", *map(str, argv), "--target", "xen", "--json"]
        done = xen_guest.run(words)
        assert done.status == 0, (done.stdout + done.stderr).decode()
        return json.loads(done.stdout)

    applied = lpengine_cli("apply", payloads / "first.livepatch")
    says = xen_guest.read("/sys/hypervisor/version/extra")
    stack = lpengine_cli("status")["patches"]
    lpengine_cli("revert", "first")
    lpengine_cli("unload", "first")
    assert applied["outcome"]["status"] == "done"
    assert says.startswith(b"+LP-FIRST")
    assert [(one["name"], one["state"]) for one in stack] == [("first", "applied")]
    assert lpengine_cli("status")["patches"] == []


def test_many_cycles_while_the_guest_works(in_dom0, payloads: Path) -> None:
    script = ROOT / "tests/xen_cycles.py"
    counted = json.loads(in_dom0(script, payloads / "first.livepatch", CYCLES))
    assert counted["cycles"] == CYCLES
    assert counted["failures"] == []
    assert counted["loaded"] == []
    assert counted["calls"] > 0
    assert set(counted["said"]) <= {counted["before"], "+LP-FIRST"}
    assert counted["descriptors"] == 0

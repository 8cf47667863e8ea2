"""Security fixes of Xen's stable branch, as they were committed, against hypervisors
built from their parents.

Needs a clone of Xen's repository with stable-4.17, named by LPENGINE_XEN_CLONE, flex
and bison. Each fix takes two builds of Xen, of which the base is kept. What is expected
was found by reading the fixes.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import lpengine
from lpengine.api.source_builds import build_source
from lpengine.compile.make import available_cpus
from lpengine.diff.changes import Verdict
from lpengine.elf import open_image
from lpengine.errors import FaultError
from lpengine.hosts import lab
from lpengine.hosts.lab.storage import cache_directory
from lpengine.patch.source import SourceResult
from lpengine.patch.xen.build_image import TargetImage
from lpengine.planner import Severity

CLONE = os.environ.get("LPENGINE_XEN_CLONE", "")
PARTS = ("xen", "Config.mk", "config", "tools/flask", "version.sh")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CLONE, reason="LPENGINE_XEN_CLONE names no clone of Xen"),
]


@dataclass(frozen=True)
class Taken:
    """A fix that can be a live patch, by the functions in which its hunks are.
    `compiled` are others that come out differently with them: where gcc inlined one,
    or keeps values in registers across calls of one (-fipa-ra). `call` is one that
    needs no domain to run in, and what it answers then. `option` is of the
    configuration, where Debian's leaves the code out."""

    advisory: int
    commit: str
    functions: frozenset[str]
    compiled: frozenset[str] = frozenset()
    call: tuple[str, list[int], int] | None = None
    option: str = ""


@dataclass(frozen=True)
class Refused:
    """A fix that cannot: code, cause and, where it is one thing, subject of a
    refusal."""

    advisory: int
    commit: str
    code: str
    cause: str
    subject: str = ""


def _of(*names: str) -> frozenset[str]:
    return frozenset(names)


TAKEN = (
    Taken(507, "f07dd6360b", _of("p2m_pod_decrease_reservation")),
    Taken(
        506,
        "4206d3febb",
        _of("do_dm_op", "dm_op", "compat_dm_op"),
        call=("do_dm_op", [0, 0, 0], 2**64 - 61),  # ENODATA
    ),
    Taken(505, "7b8ea878a9", _of("evtchn_fifo_expand_array")),
    Taken(
        504,
        "3fcf9565ae",
        _of("start_stimer", "viridian_time_wrmsr", "viridian_time_load_vcpu_ctxt"),
    ),
    Taken(503, "f7152bdbb2", _of("handle_rtc_io")),
    Taken(500, "49f1cd9478", _of("acquire_grant_for_copy")),
    Taken(480, "ca4c5d8b4c", _of("p2m_free_ptp"), _of("p2m_change_altp2m_gfn")),
    Taken(
        477,
        "a2bca552d7",
        _of("trace_emulate_write_val"),
        option="CONFIG_SHADOW_PAGING",
    ),
    Taken(462, "3ef9196234", _of("vlapic_error")),
    Taken(458, "8f653989ec", _of("map_domain_pirq")),
)
REFUSED = (
    Refused(501, "1cc5e5babc", "LP-DAT-301", "member-moved", "struct grant_table"),
    Refused(492, "b08478bb00", "LP-DAT-301", "member-moved", "struct vcpu"),
    Refused(488, "57d0c0cdde", "LP-DAT-304", "bring-up-only", "init_amd"),
    Refused(472, "af733b706d", "LP-DAT-301", "size-changed", "struct viridian_domain"),
    Refused(455, "1988719486", "LP-CHG-903", "assembly"),
    Refused(431, "66c930ceac", "LP-CHG-902", "per-cpu-data", "per_cpu__legacy_ssbd"),
)
# These are also taken by the hypervisor itself.
BOOTED = (507, 506, 505, 504)


@dataclass(frozen=True)
class Prepared:
    """The tree at a fix's parent, the fix, and what runs."""

    tree: Path
    fix: Path
    image: Path
    hypervisor: Path


Prepare = Callable[..., Prepared]


@pytest.fixture(scope="module")
def prepare(xen_image: Path) -> Prepare:
    """Builds the parent plainly, as a distribution does: without debug information,
    elsewhere, with Debian's configuration and `option`. Once for each, and kept."""
    configuration = TargetImage(open_image(xen_image)).configuration
    kept = cache_directory() / "fixed-xens"
    kept.mkdir(parents=True, exist_ok=True)

    def prepare_(commit: str, option: str = "") -> Prepared:
        there = kept / (f"{commit}-{option}" if option else commit)
        if not there.is_dir():
            with tempfile.TemporaryDirectory(dir=kept) as scratch:
                fresh = Path(scratch) / commit
                _prepare(commit, fresh, configuration + _chosen(option))
                fresh.rename(there)
        parts = ("tree", "fix.patch", "xen-syms", "xen.gz")
        return Prepared(*(there / part for part in parts))

    return prepare_


def _chosen(option: str) -> bytes:
    """A line for a configuration: the last one of a name holds."""
    return f"\n{option}=y\n".encode() if option else b""


def _prepare(commit: str, there: Path, configuration: bytes) -> None:
    tree, plain = there / "tree", there / "plain"
    tree.mkdir(parents=True)
    listed = _git("ls-tree", "--name-only", f"{commit}^", *PARTS).decode().split()
    archive = _git("archive", f"{commit}^", *listed)
    subprocess.run(["tar", "-x", "-C", tree], input=archive, check=True)
    (there / "fix.patch").write_bytes(_git("format-patch", "-1", "--stdout", commit))
    shutil.copytree(tree, plain, symlinks=True)
    (plain / "xen/.config").write_bytes(configuration)
    make = ["make", "-s", f"-j{available_cpus()}", "-C", plain / "xen"]
    for goal in ("olddefconfig", "build"):
        subprocess.run([*make, goal], check=True, capture_output=True)
    for made in ("xen-syms", "xen.gz"):
        shutil.move(plain / "xen" / made, there / made)
    shutil.rmtree(plain)


def _git(*argv: str) -> bytes:
    command = ["git", "-C", CLONE, *argv]
    return subprocess.run(command, check=True, capture_output=True).stdout


def _built(prepared: Prepared) -> SourceResult:
    return build_source(
        prepared.tree, [prepared.fix], prepared.image, name=prepared.tree.parent.name
    )


@pytest.mark.parametrize("case", TAKEN, ids=lambda case: f"XSA-{case.advisory}")
def test_the_fix_becomes_a_payload_of_what_it_changes(
    case: Taken, prepare: Prepare, tmp_path: Path
) -> None:
    prepared = prepare(case.commit, case.option)
    result = _built(prepared)
    assert result.verdict is Verdict.CHANGED, result.refusals
    assert result.built is not None
    names = {name.rpartition("#")[2] for name in result.built.functions}
    assert names == case.functions | case.compiled
    module = tmp_path / f"xsa{case.advisory}.livepatch"
    module.write_bytes(result.built.payload)
    _try_in_emulation(case, prepared, module, tmp_path)
    if case.advisory in BOOTED:
        _try_for_real(case, prepared, module)


def _try_in_emulation(
    case: Taken, prepared: Prepared, module: Path, scratch: Path
) -> None:
    emulated = lpengine.emulate([module], prepared.image, state_directory=scratch)
    findings = emulated.acted.planned.plan.findings
    assert [each for each in findings if each.severity is not Severity.INFO] == []
    assert emulated.acted.outcome is not None
    assert emulated.acted.outcome.status == "done"
    assert emulated.restored
    if case.call is not None:
        function, arguments, answer = case.call
        image = open_image(prepared.image)
        machine = lpengine.EmulatedMachine.from_image(image)
        target = lpengine.MachineTarget(machine, "emulated:fix", scratch / "machine")
        lpengine.apply([module], target)
        assert machine.call_by_name(function, arguments) == answer
        lpengine.revert([module.stem], target)
        with pytest.raises(FaultError):
            machine.call_by_name(function, arguments)


def _try_for_real(case: Taken, prepared: Prepared, module: Path) -> None:
    lab.fetch("xen")
    with lab.boot(
        "xen",
        name=f"xsa-{case.advisory}-{os.getpid()}",
        hypervisor=prepared.hypervisor,
        symbols=prepared.image,
    ) as guest:
        trial = lab.try_module(guest, module, ["cat /sys/hypervisor/version/extra"])
    assert (trial.verdict, trial.reason) == ("passed", "")


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"XSA-{case.advisory}")
def test_the_fix_is_refused_with_its_cause(case: Refused, prepare: Prepare) -> None:
    result = _built(prepare(case.commit))
    assert result.verdict is Verdict.REFUSED
    assert result.built is None
    assert (case.code, case.cause) in {(r.code, r.cause) for r in result.refusals}
    assert case.subject in {"", *(each.subject for each in result.refusals)}


def test_a_fix_to_code_that_is_left_out_is_no_refusal(prepare: Prepare) -> None:
    """XSA-477 is about shadow paging, which Debian's Xen does without."""
    result = _built(prepare("a2bca552d7"))
    assert result.verdict is Verdict.UNCHANGED
    assert result.built is None
    assert result.refusals == ()

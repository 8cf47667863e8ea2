"""Plan and kernel agree: whatever Debian's Linux refuses, the plan had refused for the
same reason and with the same errno, in one table over all reasons there are."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lpengine.elf import open_image
from lpengine.elf.kernel import KernelImage, open_kernel
from lpengine.hosts import lab
from lpengine.hosts.lab.initramfs import python_command
from lpengine.patch.linux.module_file import ModuleFile
from tests.kernel_modules import Build, builder
from tests.linux_agreement import (
    FORESEEN,
    NOT_PROVOKED,
    ROWS,
    TOLD,
    UNCHECKED,
    Case,
    cases,
    switches,
)

pytestmark = pytest.mark.system
ROOT = Path(__file__).parent.parent
LONG = timedelta(minutes=5)
REFUSED = 10

SWAP = """\
int kswapd(void *node)
{
	return 0;
}
"""
NAP = """\
long hrtimer_nanosleep(s64 time, int mode, int clock);

int common_nsleep(int clock, int flags, const s64 *time)
{
	int result = hrtimer_nanosleep(time[0] * 1000000000, 1, clock);

	return result ? result : hrtimer_nanosleep(1, 1, clock);
}
"""

Seen = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def kernel() -> KernelImage:
    return open_kernel(lab.stocked("linux").kernel)


@pytest.fixture(scope="module")
def build(
    linux_guest: lab.Guest,
    kernel: KernelImage,
    tmp_path_factory: pytest.TempPathFactory,
) -> Build:
    return builder(kernel, tmp_path_factory.mktemp("modules"))


@pytest.fixture(scope="module")
def table(build, kernel) -> dict[str, Case]:
    stock = lab.stocked("linux")
    binfmt = ModuleFile(open_image(stock.modules / "kernel/fs/binfmt_misc.ko"))
    return cases(build, kernel.btf, binfmt)


@pytest.fixture(scope="module")
def seen(table, linux_guest, tmp_path_factory) -> Seen:
    return play(linux_guest, table, tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="module")
def mortal(table) -> Iterator[lab.Guest]:
    """A guest for what cannot be taken back."""
    with lab.boot("linux", memory=512) as guest:
        yield guest


def play(guest: lab.Guest, table: dict[str, Case], folder: Path) -> Seen:
    for name, case in table.items():
        (folder / f"{name}.ko").write_bytes(case.module)
        (folder / f"{name}.beside").write_bytes(case.beside)
    written = {
        name: (
            str(folder / f"{name}.ko"),
            case.around,
            str(folder / f"{name}.beside") if case.beside else "",
        )
        for name, case in table.items()
    }
    (folder / "cases.json").write_text(json.dumps(written))
    words = [*python_command(), "-m", "tests.in_linux", "agreement"]
    argv = [*words, str(folder / "cases.json")]
    done = guest.run(argv, timeout=LONG, directory=str(ROOT))
    assert done.status == 0, done.stderr.decode()
    return json.loads(done.stdout)


def agrees(case: Case, row: dict[str, Any]) -> bool:
    answered = (row["answered"]["cause"], row["answered"]["errno"])
    blocking = [tuple(each) for each in row["foreseen"]["blocking"]]
    if not row["clean"]:
        return False
    if case.kind == FORESEEN:
        return blocking[:1] == [answered] == [(case.cause, case.errno)]
    if case.kind == UNCHECKED:
        return blocking[:1] == [(case.cause, "")] and answered == ("", "")
    if case.kind == TOLD:
        told = case.cause in row["foreseen"]["others"]
        return told and not blocking and answered[1] == case.errno
    return not blocking and answered == ("", "")


def test_every_reason_is_tried_or_says_why_not(table) -> None:
    tried = Counter(case.row for case in (*table.values(), *switches(table).values()))
    assert set(tried) | set(NOT_PROVOKED) == set(ROWS)
    assert not set(tried) & set(NOT_PROVOKED)


def test_what_the_kernel_refuses_was_foreseen(table, seen: Seen) -> None:
    wrong = {n: (table[n], seen[n]) for n in table if not agrees(table[n], seen[n])}
    assert wrong == {}, "\n".join(
        f"{name}: {case.cause} {case.errno}: {row}"
        for name, (case, row) in wrong.items()
    )


def test_only_what_comes_off_by_force_is_pinned(mortal, build) -> None:
    """A kernel thread that lives in the old function, and a task asleep in the new
    one; each is switched all the same where --force says so."""

    def lpengine(*words: object, status: int = 0) -> dict[str, Any]:
        argv = ["lpengine", *map(str, words), "--target", "linux", "--json"]
        done = mortal.run(argv, timeout=LONG)
        assert done.status == status, done.stdout.decode() + done.stderr.decode()
        return json.loads(done.stdout)

    def patches() -> dict[str, tuple[str, bool]]:
        rows = lpengine("status")["patches"]
        return {row["name"]: (row["state"], row["pinned"]) for row in rows}

    quick = ("--timeout", "1000", "--force")
    forced = lpengine("apply", build("swap", SWAP, "kswapd"), *quick)
    causes = {finding["cause"] for finding in forced["plan"]["findings"]}
    assert causes == {"function-busy", "forced"}
    assert patches() == {"swap": ("applied", False)}
    lpengine("revert", "swap")
    lpengine("unload", "swap")
    lpengine("apply", build("nap", NAP, "common_nsleep"))
    mortal.run(["sh", "-c", "setsid sleep 300 >/dev/null 2>&1 </dev/null & sleep 1"])
    assert lpengine("revert", "nap", *quick)["outcome"]["status"] == "done"
    assert patches() == {"nap": ("checked", True)}
    refused = lpengine("unload", "nap", status=REFUSED)
    assert [f["errno"] for f in refused["plan"]["findings"]] == ["EAGAIN"]
    assert b"in use" in mortal.run(["rmmod", "nap"]).stderr
    again = lpengine("apply", "/var/lib/lpengine/linux/modules/nap.ko", status=REFUSED)
    # Where something else sleeps at the time, that is said, too.
    causes = {finding["cause"] for finding in again["plan"]["findings"]}
    assert causes - {"function-busy"} == {"pinned"}


def test_what_an_administrator_forbids_was_foreseen(
    table, mortal: lab.Guest, tmp_path: Path
) -> None:
    mortal.run(["mount", "-t", "securityfs", "none", "/sys/kernel/security"])
    expected = switches(table)
    spoilt = play(mortal, expected, tmp_path)
    wrong = {n: spoilt[n] for n in expected if not agrees(expected[n], spoilt[n])}
    assert wrong == {}

"""The power fails while a patch is being applied to the real thing: after the boot
`status` and `recover` say what is so."""

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

import lpengine
from lpengine.elf.kernel import open_kernel
from lpengine.hosts import lab
from lpengine.hosts.base import HostError
from lpengine.journal import Entry, Journal
from lpengine.patch.linux.build import build_c

pytestmark = pytest.mark.system

STATE = "/var/lib/lpengine"
PATIENCE = 120.0
XEN = 'const char *xen_extra_version(void)\n{\n\treturn "+power";\n}\n'
LINUX = """\
struct seq_file;
void seq_printf(struct seq_file *m, const char *format, ...);

int cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "power\\n");
	return 0;
}
"""

# A moment is told by what is on disk by then, in the target's state directory; the
# journal itself must not be opened by two machines at once.
JOURNAL = "journal.sqlite-wal"
MOMENTS: dict[str, tuple[tuple[str, bytes], ...]] = {
    # the run has begun; it is being loaded; it is being applied
    "linux": (
        (JOURNAL, b"running"),
        ("modules/power.ko", b""),
        ("patches.json", b"power"),
    ),
    "xen": ((JOURNAL, b"running"), ("state.json", b"power")),
}


def build_for(kind: str, directory: Path) -> Path:
    stock = lab.stocked(kind)
    source = directory / "power.c"
    source.write_text(XEN if kind == "xen" else LINUX)
    if kind == "xen":
        assert stock.symbols is not None
        name = "xen_extra_version"
        built = lpengine.build_c(source, {name: name}, stock.symbols)
    else:
        kernel = open_kernel(stock.kernel)
        built = build_c(source, {"cmdline_proc_show": ""}, kernel, name="power")
    module = directory / ("power.livepatch" if kind == "xen" else "power.ko")
    module.write_bytes(built.payload)
    return module


class Machine:
    """Boots again and again, with its state directory on a disk that survives."""

    def __init__(self, kind: str, share: Path) -> None:
        self.kind, self.share = kind, share
        self.guest: lab.Guest | None = None

    def boot(self, state: str) -> None:
        self.guest = lab.boot(
            self.kind,
            name=f"power-{self.kind}-{os.getpid()}",
            memory={"xen": 0, "linux": 512}[self.kind],
            share=self.share,
        )
        self.use(state)

    def use(self, state: str) -> None:
        """The directory on the disk that is lpengine's from now on."""
        assert self.guest is not None
        until_it_stands_by = timedelta(minutes=6)
        self.guest.run(["lpengine", "--version"], timeout=until_it_stands_by)
        place = f"{self.share}/{state}"
        script = f"mkdir -p {place} && rm -rf {STATE} && ln -s {place} {STATE}"
        assert self.guest.run(["sh", "-c", script]).status == 0

    def lpengine(self, *words: str) -> dict:
        assert self.guest is not None
        done = self.guest.run(["lpengine", *words, "--json"])
        assert done.status == 0, done.stdout.decode() + done.stderr.decode()
        return json.loads(done.stdout)

    def apply_and_die(
        self, module: Path, state: str, name: str, says: bytes
    ) -> Entry | None:
        """What the journal says once the power is off; nothing, where what was seen of
        it was no whole transaction yet."""
        assert self.guest is not None
        sign = self.share / state / self.kind / name
        words = ["lpengine", "apply", str(module), "--target", self.kind]
        applying = threading.Thread(target=self.attempt, args=(words,))
        applying.start()
        deadline = time.monotonic() + PATIENCE
        while not (sign.exists() and says in sign.read_bytes()):
            assert time.monotonic() < deadline, f"never came as far as {name}"
        self.guest.kill()
        applying.join()
        self.guest.stop()
        # A copy: to open it would put right what the power cut has left.
        copy = self.share / f"{state}-copy"
        shutil.copytree(self.share / state / self.kind, copy)
        with Journal(copy) as journal:
            entries = journal.entries()
        assert len(entries) <= 1
        return entries[0] if entries else None

    def attempt(self, words: list[str]) -> None:
        assert self.guest is not None
        with suppress(HostError):
            self.guest.run(words)


@pytest.fixture(params=["linux", "xen"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    request.getfixturevalue(f"{request.param}_guest")  # fetched, or told why not
    share = tmp_path / "disk"
    share.mkdir()
    machine = Machine(request.param, share)
    yield machine
    if machine.guest is not None:
        machine.guest.stop()


def test_after_a_power_cut_the_truth_is_told(machine: Machine, tmp_path: Path) -> None:
    module, target = build_for(machine.kind, tmp_path), ("--target", machine.kind)
    moments = MOMENTS[machine.kind]
    machine.boot("0")
    for number, (name, says) in enumerate(moments):
        died = machine.apply_and_die(module, f"{number}", name, says)
        open_then = died is not None and died.status.is_open
        machine.boot(f"{number}")
        status = machine.lpengine("status", *target)
        assert (status["effective"], status["patches"]) == ([], [])
        assert status["interrupted"] == ("apply" if open_then else "")
        assert status["booted_since"] is open_then
        (row,) = machine.lpengine("recover", *target)["targets"]
        outcome = row["outcome"]["status"] if row["outcome"] else ""
        assert outcome == ("recovered" if open_then else "")
        assert row["effective"] == []
        assert machine.lpengine("status", *target)["interrupted"] == ""
        runs = machine.lpengine("history", *target)["runs"]
        if died is None:
            assert runs == []
        else:
            (run,) = runs
            assert run["status"] == ("recovered" if open_then else "done")
        machine.use(f"{number + 1}")
    applied = machine.lpengine("apply", str(module), *target)
    assert applied["outcome"]["status"] == "done"
    assert machine.lpengine("status", *target)["effective"] == ["power"]

"""Programs are started without a shell, and none outlives its deadline."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lpengine.command import CommandError, run, start
from lpengine.errors import NotFoundError, NotPermittedError


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_output_and_input() -> None:
    code = (
        "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.stderr.write('e')"
    )
    result = run(python(code), input=b"hello")
    assert (result.stdout, result.stderr) == (b"HELLO", b"e")


def test_without_input_stdin_is_empty() -> None:
    assert run(["cat"]).stdout == b""


def test_much_output_and_much_input_do_not_block_each_other() -> None:
    data = bytes(1 << 21)
    assert run(["cat"], input=data).stdout == data


def test_arguments_are_not_for_a_shell() -> None:
    assert run(["printf", "%s", "$HOME; * `x`"]).stdout == b"$HOME; * `x`"


def test_locale_is_c_and_environment_is_added(tmp_path: Path) -> None:
    code = "import os; print(os.environ['LC_ALL'], os.environ['X'], os.getcwd())"
    output = run(python(code), environment={"X": "y"}, cwd=tmp_path).stdout.decode()
    assert output.split() == ["C", "y", str(tmp_path)]
    assert b"PATH=" in run(["env"], environment={"X": "y"}).stdout


def test_failure_names_program_status_and_last_line() -> None:
    argv = python("import sys; sys.stderr.write('first\\nlast line\\n'); sys.exit(3)")
    with pytest.raises(CommandError) as caught:
        run(argv)
    error = caught.value
    assert error.status == 3
    assert error.argv == tuple(argv)
    assert error.message.endswith("failed with status 3: last line")
    assert "first" not in error.message
    assert "sys.exit(3)" in error.hint


def test_a_signal_is_named() -> None:
    with pytest.raises(CommandError, match="ended by SIGKILL") as caught:
        run(python("import os; os.kill(os.getpid(), 9)"))
    assert caught.value.status == -9


def test_stderr_that_is_not_text() -> None:
    with pytest.raises(CommandError, match=r"\\xff"):
        run(
            python(
                "import sys; sys.stderr.buffer.write(bytes([255]) * 9999); sys.exit(1)"
            )
        )


def test_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(NotFoundError) as caught:
        run(["readelf", "-h", "x"])
    assert caught.value.hint == "apt install binutils"
    with pytest.raises(NotFoundError, match="no-such-program"):
        run(["no-such-program"])


def test_missing_directory_is_not_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="gone: no such directory"):
        run(["true"], cwd=tmp_path / "gone")


def test_what_cannot_be_executed(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(NotPermittedError, match="script"):
        run([str(script)])


def test_what_is_no_program(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(bytes(64))
    program.chmod(0o755)
    with pytest.raises(CommandError, match="cannot be started: Exec format error"):
        run([str(program)])


def test_deadline_kills_the_whole_group(tmp_path: Path) -> None:
    """A grandchild that holds the pipes open neither survives nor delays."""
    marker = tmp_path / "pid"
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(marker)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    start = time.monotonic()
    with pytest.raises(CommandError, match=r"did not end within 1\.5 s") as caught:
        run(python(code), timeout=1.5)
    assert time.monotonic() - start < 10
    assert caught.value.status is None
    assert not is_running(int(marker.read_text()))


@pytest.mark.parametrize("tied", [True, False])
def test_what_is_tied_goes_with_us_however_we_go(tmp_path: Path, tied: bool) -> None:
    """Begun by a thread that ends at once, in a process that is killed."""
    marker = tmp_path / "pid"
    code = (
        "import threading, time\n"
        "from pathlib import Path\n"
        "from lpengine.command import start\n"
        f"here = Path({str(tmp_path)!r})\n"
        "argv = ['sh', '-c', 'echo $$ >pid; sleep 60']\n"
        f"begin = lambda: start(argv, cwd=here, log=here / 'log', tied={tied})\n"
        "thread = threading.Thread(target=begin)\n"
        "thread.start(), thread.join()\n"
        "time.sleep(60)\n"
    )
    caller = subprocess.Popen(python(code))
    deadline = time.monotonic() + 10
    while not (marker.exists() and marker.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child = int(marker.read_text())
    caller.kill()
    caller.wait()
    if tied:
        assert not is_running(child)
    else:
        time.sleep(0.3)
        os.kill(child, signal.SIGKILL)


def test_what_is_tied_and_ends_is_not_waited_for(tmp_path: Path) -> None:
    pid = start(["true"], cwd=tmp_path, log=tmp_path / "log", tied=True)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Waits a little: a killed process is reaped by somebody else."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        os.sched_yield()
        time.sleep(0.02)
    return True

"""What every host must do, whichever way it is reached."""

from datetime import timedelta

import pytest

from lpengine.errors import NotFoundError, UsageError
from lpengine.hosts import Host, HostError


class HostContract:
    """Subclasses in test files give a `host` fixture, and `scratch`, a directory
    there."""

    def test_output_and_status_come_back(self, host: Host) -> None:
        done = host.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
        assert (done.status, done.stdout, done.stderr) == (3, b"out\n", b"err\n")

    def test_input_arrives_byte_for_byte(self, host: Host) -> None:
        data = bytes(range(256)) * 1024
        assert host.run(["cat"], input=data).stdout == data

    def test_no_input_is_an_empty_one(self, host: Host) -> None:
        assert host.run(["cat"]).stdout == b""

    @pytest.mark.parametrize(
        "word", ["two words", "it's", '"', "$HOME", "a;b", "*", "back\\slash", "", "ü"]
    )
    def test_arguments_are_never_interpreted(self, host: Host, word: str) -> None:
        assert host.run(["printf", "%s", word]).stdout.decode() == word

    def test_a_missing_program_is_status_127(self, host: Host) -> None:
        done = host.run(["no-such-program-anywhere"])
        assert done.status == 127
        assert b"no-such-program-anywhere" in done.stderr

    def test_a_signal_is_128_and_its_number(self, host: Host) -> None:
        assert host.run(["sh", "-c", "kill -TERM $$"]).status == 128 + 15

    def test_a_program_that_takes_too_long_is_ended(
        self, host: Host, scratch: str
    ) -> None:
        late = f"sleep 3; touch {scratch}/late"
        with pytest.raises(HostError, match="did not end within"):
            host.run(["sh", "-c", late], timeout=timedelta(seconds=0.5))
        assert host.run(["sleep", "3.5"]).status == 0
        assert host.run(["test", "-e", f"{scratch}/late"]).status == 1

    def test_what_was_written_can_be_read(self, host: Host, scratch: str) -> None:
        data = bytes(range(256)) * 2048
        host.write(f"{scratch}/file", b"old")
        host.write(f"{scratch}/file", data)
        assert host.read(f"{scratch}/file") == data
        assert host.run(["ls", "-A", scratch]).stdout == b"file\n"

    def test_an_empty_file_is_a_file(self, host: Host, scratch: str) -> None:
        host.write(f"{scratch}/empty", b"")
        assert host.read(f"{scratch}/empty") == b""

    def test_odd_names_are_names(self, host: Host, scratch: str) -> None:
        name = f"{scratch}/-n it's $HOME"
        host.write(name, b"x")
        assert host.read(name) == b"x"

    def test_what_is_missing_is_not_found(self, host: Host, scratch: str) -> None:
        with pytest.raises(NotFoundError, match="missing"):
            host.read(f"{scratch}/missing")
        with pytest.raises(NotFoundError, match="missing"):
            host.write(f"{scratch}/missing/file", b"")

    def test_a_directory_is_not_a_file(self, host: Host, scratch: str) -> None:
        with pytest.raises(UsageError, match="directory"):
            host.read(scratch)
        with pytest.raises(UsageError, match="directory"):
            host.write(scratch, b"")
        assert host.run(["ls", "-A", scratch]).stdout == b""

    def test_the_boot_id_stays_until_the_next_boot(self, host: Host) -> None:
        assert len(host.boot_id()) == 36
        assert host.boot_id() == host.boot_id()

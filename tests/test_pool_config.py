"""pool.toml: what it says, what is wrong in it and where, and how it is changed."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpengine.errors import InputError, NotFoundError, UsageError
from lpengine.planner.updates.state import Mode
from lpengine.pool.commands import PLAIN, XAPI, Command, Where, filled
from lpengine.pool.config import (
    HostConfig,
    PoolConfig,
    ToolstackKind,
    load_fleet,
    parse_fleet,
)
from lpengine.pool.lines import line_of
from lpengine.pool.settings import change

FULL = """\
# Ours.
[pools.prod]
coordinator = "host1"          # never host2
mode = "manual"
edition = "premium"
features = ["live_patching"]
toolstack = "xapi"
forbid_restarts = true
reboot_deadline = "10min"

[pools.prod.commands]
reboot_host = "ipmitool -H {host}-bmc power cycle"
restart_toolstack = {run = "xe-toolstack-restart", on = "coordinator", timeout = "90s"}

[pools.prod.hosts]
host1 = "ssh://root@host1"

[pools.prod.hosts.host2]
address = "local"
root = "/srv/host2"
config = "/srv/host2/host.toml"
signers = "/srv/signers"
components = {xen = "emulated:/srv/host2/xen"}

[pools.lab.hosts]
lab1 = "qemu:lab1"
"""


def test_everything_that_can_be_said() -> None:
    fleet = parse_fleet(FULL.encode(), Path("pool.toml"))
    assert fleet.pool("prod") == PoolConfig(
        name="prod",
        hosts=(
            HostConfig("host1", "ssh://root@host1"),
            HostConfig(
                "host2",
                "local",
                "/srv/host2",
                "/srv/host2/host.toml",
                "/srv/signers",
                {"xen": "emulated:/srv/host2/xen"},
            ),
        ),
        coordinator="host1",
        mode=Mode.MANUAL,
        edition="premium",
        features=("live_patching",),
        toolstack=ToolstackKind.XAPI,
        forbids_restarts=True,
        deadline=600,
        commands={
            "reboot_host": Command("ipmitool -H {host}-bmc power cycle"),
            "restart_toolstack": Command(
                "xe-toolstack-restart", Where.COORDINATOR, seconds=90
            ),
        },
    )
    lab = fleet.pool("lab")
    assert lab.live_patching
    assert lab.features is None
    with pytest.raises(NotFoundError, match="there is no pool none"):
        fleet.pool("none")


HOST = '[pools.p.hosts]\na = "local"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = " + "[" * 10_000, "pool.toml: maximum recursion"),
        ("[pools.p", "pool.toml: "),
        ("", "1: the file: .*pools"),
        ("[pools]\n", "1: pools: there is no pool"),
        ("other = 1\n" + HOST, "1: other: there is no other"),
        ("[pools.p]\n", "1: pools.p: .*hosts"),
        ("[pools.p]\n[pools.p.hosts]\n", "2: pools.p.hosts: the pool has no host"),
        ("\n[pools.p]\nlive_pathcing = true\n" + HOST, "3: pools.p.live_pathcing"),
        ('[pools.p]\nlive_patching = "off"\n' + HOST, "2: .*live_patching: .*bool"),
        ('[pools.p]\nmode = "never"\n' + HOST, "2: pools.p.mode: .*never"),
        ('[pools.p]\nfeatures = ["x"]\n' + HOST, "2: pools.p.features: 'x'"),
        ('[pools.p]\ncoordinator = "b"\n' + HOST, "2: pools.p.coordinator: b is not"),
        ('[pools.p]\ntoolstack = "z"\n' + HOST, "2: pools.p.toolstack: .*'z'"),
        (
            '[pools.p]\nreboot_deadline = "1"\n' + HOST,
            "2: .*deadline: '1' is not a time",
        ),
        ('[pools."a b".hosts]\nc = "local"\n', "1: pools.a b: 'a b' is not a name"),
        ('[pools.p.hosts]\n"/" = "local"\n', "2: pools.p.hosts./: '/' is not a name"),
        ('[pools.p.hosts]\na = "telnet://x"\n', "2: pools.p.hosts.a.address: telnet"),
        ('[pools.p.hosts]\na = "ssh://-oX"\n', "2: .*: not a host"),
        ("[pools.p.hosts]\na = 1\n", "2: pools.p.hosts.a: .*int"),
        (HOST + '[pools.p.hosts.b]\nroot = "/"\n', "3: pools.p.hosts.b: .*address"),
        (HOST + '[pools.p.commands]\nfly = "x"\n', "4: .*fly: there is no fly"),
        (
            HOST + '[pools.p.commands]\nreboot_host = "ipmi {bmc}"\n',
            "4: .*{bmc} is not a placeholder",
        ),
        (
            HOST + '[pools.p.commands.reboot_host]\nrun = "x"\non = "moon"\n',
            "5: .*on: .*moon",
        ),
    ],
)
def test_what_is_wrong_is_said_with_line_and_key(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_fleet(text.encode(), Path("pool.toml"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file") as caught:
        load_fleet(tmp_path / "pool.toml")
    assert "docs/pools.md" in caught.value.hint


def test_the_environment_may_name_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text(HOST)
    monkeypatch.setenv("LPENGINE_POOLS", str(tmp_path / "mine.toml"))
    assert load_fleet().pools[0].name == "p"


def test_lines_of_values_over_several_lines() -> None:
    text = 'a = [\n1,\n2,\n]\n[b]\nc = """\nx\n"""\nd = 1\n'
    assert [line_of(text, path) for path in (["a"], ["b"], ["b", "c"], ["b", "d"])] == [
        1,
        5,
        6,
        9,
    ]
    assert line_of(text, ["b", "e"]) == 5
    assert line_of(text, ["z"]) == 1


@given(st.integers(1, 60), st.integers(0, 59))
def test_lines_are_found_in_files_of_any_length(count: int, wanted: int) -> None:
    wanted %= count
    text = "".join(f"[t.k{n}]\nv = {n}\n" for n in range(count))
    assert line_of(text, ["t", f"k{wanted}", "v"]) == 2 * wanted + 2


def test_switching_keeps_what_people_wrote(tmp_path: Path) -> None:
    path = tmp_path / "pool.toml"
    path.write_text(FULL)
    path.chmod(0o640)
    change("prod", {"live_patching": "off"}, path)
    assert not load_fleet(path).pool("prod").live_patching
    kept = [line for line in path.read_text().splitlines() if "live_pat" not in line]
    assert kept == [line for line in FULL.splitlines() if "live_pat" not in line]
    assert path.stat().st_mode & 0o777 == 0o640
    change("prod", {"live_patching": "on", "mode": "automatic"}, path)
    changed = load_fleet(path).pool("prod")
    assert changed.live_patching
    assert changed.mode is Mode.AUTOMATIC
    assert [each.name for each in tmp_path.iterdir()] == ["pool.toml"]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"live_patching": "maybe"}, UsageError),
        ({"mode": "never"}, UsageError),
        ({"hosts": "x"}, UsageError),
        ({"coordinator": "nobody"}, InputError),
    ],
)
def test_what_makes_no_sense_changes_nothing(
    tmp_path: Path, settings: dict[str, str], error: type[Exception]
) -> None:
    path = tmp_path / "pool.toml"
    path.write_text(FULL)
    with pytest.raises(error):
        change("prod", {"edition": "x", **settings}, path)
    with pytest.raises(NotFoundError):
        change("nobody", {"edition": "x"}, path)
    assert path.read_text() == FULL


def test_changes_at_once_do_not_lose_one_another(tmp_path: Path) -> None:
    path = tmp_path / "pool.toml"
    names = [f"p{n}" for n in range(8)]
    path.write_text("".join(f'[pools.{n}.hosts]\na = "local"\n' for n in names))
    workers = [
        threading.Thread(target=change, args=(name, {"edition": name}, path))
        for name in names
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [pool.edition for pool in load_fleet(path).pools] == names


def test_placeholders_become_one_word_each() -> None:
    values = {"guest": "it's $HOME; rm", "host_id": "1"}
    assert filled("x {guest} ${host_id} {host_id} {x,y}", values) == (
        "x 'it'\"'\"'s $HOME; rm' ${host_id} 1 {x,y}"
    )


@pytest.mark.parametrize("commands", [PLAIN, XAPI])
def test_defaults_have_known_placeholders(commands: dict[str, Command]) -> None:
    for name, command in commands.items():
        text = HOST + f"[pools.p.commands]\n{name} = {toml(command.line)}\n"
        parsed = parse_fleet(text.encode(), Path("pool.toml")).pool("p")
        assert parsed.commands[name].line == command.line


def toml(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'

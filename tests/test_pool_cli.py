"""`lpengine pool` as its users see it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lpengine.package.model import Level
from tests import host_tree
from tests.host_tree import HEADING
from tests.pool_bundles import Publisher
from tests.pool_cases import LIVEPATCH, OTHER_BUILD_ID, Site, update

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher(tmp_path_factory.mktemp("publisher"))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Two pools; host3 runs a build that no live patch is for."""
    site = Site(tmp_path)
    site.pool("prod", ["host1", "host2", "host3"])
    host_tree.xen(site.root("host3"), build_id=OTHER_BUILD_ID)
    site.pool("edge", ["host4"], "live_patching = false")
    path = site.write()
    monkeypatch.setenv("LPENGINE_POOLS", str(path))
    monkeypatch.setenv("LPENGINE_STATE_DIR", str(tmp_path / "state"))
    # The trees have no lpengine; this machine's own takes half a second to start.
    monkeypatch.setattr("lpengine.targets.host.engine.HERE", ("sh", "-c", "exit 127"))
    return site


@pytest.fixture
def bundle(publisher: Publisher, tmp_path: Path) -> Path:
    return publisher.hotfix(update(cves=("CVE-2026-1111",)), tmp_path / "u1.lpu")


PLAN = """\
Update     U1  (signed by xen-security@example.org, 1 module, disk: 1 file)
Fixes      CVE-2026-1111

Pool       prod
SERVER               XEN          DISK  TASK AFTERWARDS
host1 (coordinator)  can apply    ok    No action required
host2                can apply    ok    No action required
host3                not covered  ok    Reboot this server

host1, host2, host3  LP-ENV-612 ENGINE_MISSING   it can be planned for, but not updated
       Remedy: install lpengine on the host.   lpengine explain LP-ENV-612
host3  LP-UPD-802 BUILD_NOT_SERVED   xen: build 2222222222222222222222222222222222222222
       Remedy: reboot for the update.   lpengine explain LP-UPD-802

Pool       edge  (live patching is off)
SERVER  XEN          DISK  TASK AFTERWARDS
host4   not covered  ok    Reboot this server

host4  LP-POL-401 LIVE_PATCHING_DISABLED   xen: live patching is switched off
       Remedy: switch live patching on, or reboot for the update.   lpengine explain \
LP-POL-401
host4  LP-ENV-612 ENGINE_MISSING   it can be planned for, but not updated
       Remedy: install lpengine on the host.   lpengine explain LP-ENV-612

2 of 4 servers need no reboot.
"""


def test_the_plan_is_a_table_with_reasons_below(
    cli: Cli, site: Site, bundle: Path, publisher: Publisher
) -> None:
    code, out, err = cli("pool", "plan", bundle, "--signers", publisher.signers)
    assert (code, err) == (0, "")
    assert out == PLAN


def test_a_plan_without_asking_anybody(
    cli: Cli, site: Site, bundle: Path, publisher: Publisher, tmp_path: Path
) -> None:
    trust = ("--signers", publisher.signers)
    seen = tmp_path / "seen.json"
    _, asked, _ = cli("pool", "plan", bundle, *trust, "--observed", seen, "--json")
    for host in ("host1", "host2", "host3", "host4"):
        (site.root(host) / "proc/sys/kernel/random/boot_id").unlink()
    code, told, _ = cli("pool", "plan", bundle, *trust, "--state", seen, "--json")
    assert code == 0
    silent = {"without_engine": []}
    assert json.loads(told) == {**json.loads(asked), **silent}
    assert cli("pool", "plan", bundle, *trust)[0] == 31
    code, out, _ = cli("pool", "plan", "--state-schema")
    assert code == 0
    assert "PoolState" in json.loads(out)["$defs"]


def test_a_saved_state_tells_who_did_not_answer(
    cli: Cli, site: Site, bundle: Path, publisher: Publisher, tmp_path: Path
) -> None:
    trust = ("--signers", publisher.signers)
    (site.root("host4") / "proc/sys/kernel/random/boot_id").unlink()
    seen = tmp_path / "seen.json"
    code, asked, _ = cli("pool", "plan", bundle, *trust, "--observed", seen)
    assert code == 31
    code, told, _ = cli("pool", "plan", bundle, *trust, "--state", seen)
    assert code == 31
    # Why it does not answer, and who has no lpengine, is not part of a state.
    lost = ("host4  does", "LP-ENV-612", "install lpengine")

    def kept(text: str) -> list[str]:
        lines = filter(None, text.splitlines())
        return [line for line in lines if not any(word in line for word in lost)]

    assert kept(told) == kept(asked)
    assert "host4  does not answer" in told


def test_it_is_said_for_all_where_nothing_has_to_be_done(
    cli: Cli, site: Site, bundle: Path, publisher: Publisher
) -> None:
    chosen = ("--pool", "prod", "--host", "host1", "--host", "host2", "--json")
    trust = ("--signers", publisher.signers)
    _, out, _ = cli("pool", "plan", bundle, *trust, *chosen[:-1])
    assert out.endswith("\n2 of 2 servers need no reboot. No action required.\n")
    _, out, _ = cli("pool", "plan", bundle, *trust, *chosen)
    plan = json.loads(out)
    (pool,) = plan["pools"]
    rows = (plan, pool, *pool["hosts"])
    assert [row["no_action_required"] for row in rows] == [True] * 4


@pytest.mark.parametrize(
    ("pools", "complaint"),
    [
        ("[{}]", "missing required field"),
        ('[{"name":"p","hosts":[],"live_patchin":false}]', "[0].live_patchin is not"),
        ("[", "not a state of pools"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_state_that_is_none(
    cli: Cli,
    bundle: Path,
    publisher: Publisher,
    tmp_path: Path,
    pools: str,
    complaint: str,
) -> None:
    """A misspelt setting would be one that nobody has made."""
    text = f'{{"schema":"lpengine/pool-state/1","pools":{pools}}}'
    (tmp_path / "s.json").write_text(text)
    trust = ("--signers", publisher.signers)
    code, _, err = cli("pool", "plan", bundle, *trust, "--state", tmp_path / "s.json")
    assert code == 13
    assert "not a state of pools" in err
    assert complaint in err


def test_chosen_pools_and_hosts(
    cli: Cli, site: Site, bundle: Path, publisher: Publisher
) -> None:
    command = ("pool", "plan", bundle, "--signers", publisher.signers, "--json")
    _, out, _ = cli(*command, "--pool", "edge")
    assert [pool["pool"] for pool in json.loads(out)["pools"]] == ["edge"]
    _, out, _ = cli(*command, "--host", "host2")
    (pool,) = json.loads(out)["pools"]
    assert [host["host"] for host in pool["hosts"]] == ["host2"]
    code, out, _ = cli(*command, "--host", "nobody")
    assert (code, json.loads(out)["error"]) == (4, "NotFoundError")
    code, out, _ = cli(*command, "--pool", "nowhere")
    assert code == 4


def test_a_tampered_bundle(
    cli: Cli, site: Site, bundle: Path, publisher: Publisher
) -> None:
    raw = bytearray(bundle.read_bytes())
    raw[-40] ^= 1
    bundle.write_bytes(raw)
    for verb in ("plan", "install"):
        code, out, err = cli("pool", verb, bundle, "--signers", publisher.signers)
        assert (code, out) == (13, "")
        assert "u1.lpu" in err


def test_an_untrusted_signer(
    cli: Cli, site: Site, bundle: Path, tmp_path: Path
) -> None:
    stranger = Publisher(tmp_path / "stranger")
    for verb in ("plan", "install"):
        command = ("pool", verb, bundle, "--signers", stranger.signers)
        code, out, err = cli(*command)
        assert (code, out) == (13, "")
        assert "is not trusted" in err
        code, out, _ = cli(*command, "--json")
        assert json.loads(out)["codes"] == ["LP-POL-404"]


def test_nothing_is_done_unasked(
    cli: Cli, site: Site, bundle: Path, publisher: Publisher
) -> None:
    code, out, err = cli("pool", "install", bundle, "--signers", publisher.signers)
    assert (code, out) == (3, PLAN)
    assert "--yes" in err


def test_a_host_without_an_lpengine_is_not_begun_with(
    cli: Cli, site: Site, bundle: Path, publisher: Publisher
) -> None:
    trust = ("--signers", publisher.signers)
    code, out, _ = cli("pool", "install", bundle, *trust, "--yes", "--progress", "none")
    assert code == 10
    assert (
        "prod  refused: host1, host2, host3: there is no lpengine (LP-ENV-612)" in out
    )
    assert site.log("host1") == []


def test_a_plan_that_was_kept_holds_for_what_it_was_made_for(
    cli: Cli, site: Site, bundle: Path, publisher: Publisher, tmp_path: Path
) -> None:
    trust = ("--signers", publisher.signers)
    kept = tmp_path / "plan.json"
    cli("pool", "plan", bundle, *trust, "--out", kept)
    listing = {"list": f"{HEADING}{LIVEPATCH}| APPLIED    | \n"}
    host_tree.printing(site.root("host4"), "/usr/sbin/xen-livepatch", listing)
    command = ("pool", "install", bundle, *trust, "--plan", kept, "--yes", "--json")
    code, out, _ = cli(*command, "--pool", "edge")
    assert code == 12
    (pool,) = json.loads(out)["pools"]
    assert pool["status"] == "failed"
    assert "host4 changed since the plan was made" in pool["error"]

    kept.write_text("{}")
    code, out, _ = cli(*command)
    assert (code, json.loads(out)["error"]) == (13, "InputError")


def test_status_and_the_switch(cli: Cli, site: Site) -> None:
    listing = {"list": f"{HEADING}{LIVEPATCH}| APPLIED    | \n"}
    host_tree.printing(site.root("host1"), "/usr/sbin/xen-livepatch", listing)
    host_tree.write(site.root("host1"), "/var/update/applied/U1", "")
    host_tree.write(site.root("host2"), "/run/reboot-required.hfxs", "U1\n")
    code, out, _ = cli("pool", "status", "--pool", "prod")
    assert code == 20
    lines = out.splitlines()
    assert lines[0] == "Pool       prod  (live patching on)"
    assert lines[2].split() == [
        *["host1", "(coordinator)", "xen", "4.17.5-8", "0fb0358", "4.17.5-9"],
        *f"{LIVEPATCH} applied U1 -".split(),
    ]
    assert lines[4].endswith("as booted  -     reboot_host")

    code, out, _ = cli("pool", "set", "prod", "live_patching=off")
    assert code == 0
    assert "live_patching = off" in out
    code, out, _ = cli("pool", "status", "--pool", "prod", "--json")
    (pool,) = json.loads(out)["pools"]
    assert not pool["live_patching"]
    code, _, err = cli("pool", "set", "prod", "live_patching=maybe")
    assert code == 2
    assert "neither on nor off" in err


def test_a_host_that_does_not_answer_is_named(
    cli: Cli, site: Site, bundle: Path, publisher: Publisher
) -> None:
    (site.root("host2") / "proc/sys/kernel/random/boot_id").unlink()
    code, out, _ = cli("pool", "status")
    assert code == 31
    assert "host2  the host shows no boot id" in out
    code, out, _ = cli("pool", "plan", bundle, "--signers", publisher.signers)
    assert code == 31
    assert "host2  does not answer: the host shows no boot id" in out
    assert out.endswith("1 of 3 servers needs no reboot. 1 did not answer.\n")


def test_a_full_disk_and_tasks_of_other_kinds(
    cli: Cli, site: Site, publisher: Publisher, tmp_path: Path
) -> None:
    wanted = {Level.RECOMMENDED: ("restart_toolstack",)}
    large = update(size=1 << 50, livepatches=[], components=[], guidance=wanted)
    bundle = publisher.hotfix(large, tmp_path / "large.lpu")
    command = ("pool", "plan", bundle, "--signers", publisher.signers)
    code, out, _ = cli(*command, "--pool", "edge")
    assert code == 10
    assert "no room" in out
    assert "LP-DSK-701" in out


def test_there_is_nothing_to_abandon(cli: Cli, site: Site) -> None:
    assert cli("pool", "abandon") == (0, "There is no run to give up.\n", "")

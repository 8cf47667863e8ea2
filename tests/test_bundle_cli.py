"""`lpengine bundle` as its users see it: from a payload and three files to a signed
update, and a clear line for everything that is wrong on the way."""

import json
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from lpengine.cli import run
from lpengine.elf import Image
from lpengine.elf.kernel import open_kernel
from lpengine.hosts.lab import Stock
from lpengine.package import open_update
from lpengine.package.authored import TEMPLATE
from tests.archive_cases import archive

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def payload(
    tmp_path_factory: pytest.TempPathFactory, hv_image: Path, patch_sources: Path
) -> Path:
    """A payload for the hypervisor-like image."""
    path = tmp_path_factory.mktemp("payload") / "fix.livepatch"
    source = patch_sources / "extra_version.c"
    built = ("build", "c", source, "--replace", "xen_extra_version")
    code = run([str(a) for a in (*built, "--image", hv_image, "-o", path)])
    assert code == 0
    return path


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "id_ed25519"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path]
    subprocess.run(command, check=True)
    return path


UPDATE = """
id = "LPU-1"
title = "Say another version"
issued = 2026-11-25T13:00:00+01:00
cves = ["CVE-2026-1111"]

[[livepatches]]
component = "xen"
file = "fix.livepatch"
base = "4.17.5-8"
to = "4.17.5-9"

[[files]]
path = "/boot/xen.gz"
source = "xen.gz"

[[files]]
path = "/usr/sbin/tool"
source = "tool"

[[files]]
path = "/etc/tool.conf"
source = "tool.conf"
mode = "0600"
"""


@pytest.fixture
def work(tmp_path: Path, payload: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A payload and three files, and what they are for."""
    shutil.copy(payload, tmp_path / "fix.livepatch")
    (tmp_path / "xen.gz").write_bytes(b"a hypervisor")
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    (tmp_path / "tool.conf").write_text("secret\n")
    (tmp_path / "update.toml").write_text(UPDATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_a_payload_and_three_files_to_a_signed_update(
    cli: Cli, work: Path, key: Path, hv: Image
) -> None:
    code, out, err = cli("bundle", "create", "update.toml", "--sign", key)
    assert (code, err) == (0, "")
    assert hv.build_id in out
    public = key.with_suffix(".pub").read_text()
    (work / "signers").write_text(f"me@example.org {public}")
    code, out, err = cli("bundle", "verify", "LPU-1.lpu", "--signers", "signers")
    assert (code, err) == (0, "")
    assert "LPU-1, whole: 4 contents\n" in out
    assert "me@example.org" in out
    with open_update("LPU-1.lpu") as bundle:
        update = bundle.update
    assert update.issued == "2026-11-25T12:00:00Z"
    assert update.components == ("xen",)
    (livepatch,) = update.livepatches
    assert (livepatch.base_build_id, livepatch.name) == (hv.build_id, "fix")
    assert [(f.path, f.mode) for f in update.files] == [
        ("/boot/xen.gz", 0o644),
        ("/etc/tool.conf", 0o600),
        ("/usr/sbin/tool", 0o755),
    ]
    assert update.guidance == {"recommended": ("reboot_host",)}
    sizes = sum(len((work / n).read_bytes()) for n in ("xen.gz", "tool", "tool.conf"))
    assert update.installation_size == sizes


def test_a_process_is_restarted_where_nothing_else_is_said(
    cli: Cli, work: Path, hv: Image
) -> None:
    text = UPDATE.replace('"xen"', '"process:nginx"')
    (work / "update.toml").write_text(text)
    assert cli("bundle", "create", "update.toml")[0] == 0
    with open_update("LPU-1.lpu") as bundle:
        bundle.check_contents()
        assert bundle.update.components == ("process:nginx",)
        assert bundle.update.guidance == {"recommended": ("restart_process",)}
        assert bundle.update.livepatches[0].base_build_id == hv.build_id


def test_guidance_may_be_in_xapis_spelling(cli: Cli, work: Path) -> None:
    guidance = '[guidance]\nrecommended = ["RebootHost"]\nlivepatch = ["RestartVM"]\n'
    (work / "update.toml").write_text(UPDATE.replace(PATCH, guidance + PATCH, 1))
    assert cli("bundle", "create", "update.toml")[0] == 0
    with open_update("LPU-1.lpu") as bundle:
        assert bundle.update.guidance == {
            "recommended": ("reboot_host",),
            "livepatch": ("restart_vm",),
        }


def test_a_payload_is_called_like_its_file_or_as_the_author_says(
    cli: Cli, work: Path
) -> None:
    (work / "fix.livepatch").rename(work / "a fix.livepatch")
    text = UPDATE.replace('"fix.livepatch"', '"a fix.livepatch"')
    (work / "update.toml").write_text(text)
    code, _, err = cli("bundle", "create", "update.toml")
    assert (code, "'a fix' is no patch's name; say name" in err) == (13, True)
    named = text.replace("base = ", 'name = "lp_fix"\nbase = ')
    (work / "update.toml").write_text(named)
    assert cli("bundle", "create", "update.toml")[0] == 0
    with open_update("LPU-1.lpu") as bundle:
        assert bundle.update.livepatches[0].name == "lp_fix"


def test_json_is_as_documented(cli: Cli, work: Path, hv: Image) -> None:
    code, out, _ = cli("bundle", "create", "update.toml", "-o", "a.lpu", "--json")
    created = json.loads(out)
    assert (code, created["schema"]) == (0, "lpengine/bundle/1")
    assert created["signed_by"] == ""
    assert created["update"]["livepatches"][0]["base_build_id"] == hv.build_id
    code, out, _ = cli("bundle", "inspect", "a.lpu", "--json")
    assert json.loads(out) == created


def test_the_template_is_an_update(cli: Cli, work: Path) -> None:
    code, out, _ = cli("bundle", "create", "--template")
    assert code == 0
    assert tomllib.loads(out)["id"] == "LPU-2026-0001"
    (work / "new.toml").write_text(out)
    (work / "xen-4.17-amd64.gz").write_bytes(b"a hypervisor")
    assert cli("bundle", "create", "new.toml")[0] == 0
    with open_update("LPU-2026-0001.lpu") as bundle:
        assert bundle.update.severity == "high"
        bundle.check_contents()


def test_all_that_the_template_only_mentions_is_right(cli: Cli, work: Path) -> None:
    """What is commented out in it is there to be used."""
    text = TEMPLATE.read_text()
    for line in ("[[applicabilities]]", 'name = "xen-h', "arch", "ineq", "version"):
        assert f"# {line}" in text
        text = text.replace(f"# {line}", line)
    (work / "new.toml").write_text(text)
    (work / "xen-4.17-amd64.gz").write_bytes(b"a hypervisor")
    code, _, err = cli("bundle", "create", "new.toml")
    assert (code, err) == (0, "")


def test_the_schema_takes_what_is_written(cli: Cli, work: Path) -> None:
    code, out, _ = cli("bundle", "create", "--json-schema")
    schema = json.loads(out)
    assert (code, schema["$ref"]) == (0, "#/$defs/Manifest")
    assert schema["$defs"]["Manifest"]["additionalProperties"] is False
    assert cli("bundle", "create")[0] == 2


def test_a_signature_made_elsewhere(cli: Cli, work: Path, key: Path) -> None:
    """The key's machine needs ssh-keygen and nothing of ours."""
    assert cli("bundle", "create", "update.toml", "-o", "a.lpu")[0] == 0
    before = json.loads(cli("bundle", "inspect", "a.lpu", "--json")[1])
    (work / "manifest.json").write_text(
        cli("bundle", "inspect", "a.lpu", "--manifest")[1]
    )
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", "lpengine-update", "-f", key]
    subprocess.run([*command, "manifest.json"], check=True)
    attach = ("bundle", "sign", "a.lpu", "--signature", "manifest.json.sig")
    assert cli(*attach)[0] == 0
    (work / "signers").write_text(f"me {key.with_suffix('.pub').read_text()}")
    assert cli("bundle", "verify", "a.lpu", "--signers", "signers")[0] == 0
    after = json.loads(cli("bundle", "inspect", "a.lpu", "--json")[1])
    assert after["digest"] == before["digest"]
    # Signed by ourselves it is the same file.
    assert cli("bundle", "create", "update.toml", "-o", "b.lpu")[0] == 0
    assert cli("bundle", "sign", "b.lpu", "--key", key, "-o", "c.lpu")[0] == 0
    assert (work / "c.lpu").read_bytes() == (work / "a.lpu").read_bytes()
    # And a signature of something else is not put in.
    (work / "other.toml").write_text(UPDATE.replace("LPU-1", "LPU-2"))
    assert cli("bundle", "create", "other.toml")[0] == 0
    code, _, err = cli(
        "bundle", "sign", "LPU-2.lpu", "--signature", "manifest.json.sig"
    )
    assert code == 13
    assert "does not match" in err


def test_signing_again_takes_the_old_ones_place(
    cli: Cli, work: Path, key: Path
) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / "other"]
    subprocess.run(command, check=True)
    assert cli("bundle", "create", "update.toml", "--sign", work / "other")[0] == 0
    assert cli("bundle", "sign", "LPU-1.lpu", "--key", key)[0] == 0
    (work / "signers").write_text(f"me {key.with_suffix('.pub').read_text()}")
    assert cli("bundle", "verify", "LPU-1.lpu", "--signers", "signers")[0] == 0


def test_verify_refuses_with_a_code_and_a_way_out(
    cli: Cli, work: Path, key: Path
) -> None:
    (work / "signers").write_text("# nobody\n")
    verify = ("bundle", "verify", "LPU-1.lpu", "--signers", "signers")
    assert cli("bundle", "create", "update.toml")[0] == 0
    code, out, _ = cli(*verify, "--json")
    error = json.loads(out)
    assert (code, error["codes"], error["exit_code"]) == (13, ["LP-POL-407"], 13)
    assert cli("bundle", "sign", "LPU-1.lpu", "--key", key)[0] == 0
    error = json.loads(cli(*verify, "--json")[1])
    assert error["codes"] == ["LP-POL-404"]
    assert "fingerprint" in error["hint"]
    (work / "signers").write_text(f"me {key.with_suffix('.pub').read_text()}")
    assert cli(*verify)[0] == 0
    assert cli(*verify, "--identity", "me")[0] == 0
    assert cli(*verify, "--identity", "you")[0] == 13
    (work / "revoked").write_text(key.with_suffix(".pub").read_text())
    code, _, err = cli(*verify, "--revoked", "revoked")
    assert (code, "is revoked" in err) == (13, True)
    code, _, err = cli("bundle", "verify", "LPU-1.lpu", "--signers", "none")
    assert (code, "ALLOWED SIGNERS" in err) == (4, True)


PATCH = "[[livepatches]]"
WRONG = [
    ("id = ", "idd = ", "unknown field `idd`"),
    ('"LPU-1"', '"LPU 1"', "id: not a name without blanks"),
    ("[[files]]", "[[files]", "not TOML"),
    ("id = ", f"x = {'[' * 10_000}\nid = ", "not TOML: maximum recursion"),
    ("13:00:00+01:00", "13:00:00", "issued: without a time zone"),
    ('component = "xen"', 'component = "zen"', "livepatches[0].component: not xen"),
    ('component = "xen"', 'component = "kernel"', "for xen, not for linux"),
    ("fix.livepatch", "fox.livepatch", "livepatches[0]: fox.livepatch: no such file"),
    ('"fix.livepatch"', '"xen.gz"', "livepatches[0]: xen.gz: "),
    ('base = "4.17.5-8"', 'base = ""', "not a version"),
    ('to = "4', 'base_build_id = "abcd"\nto = "4', "not for abcd"),
    ('to = "4', 'base_build_id = "ABCD"\nto = "4', "not lowercase hexadecimal"),
    ('to = "4', 'name = "a b"\nto = "4', "livepatches[0].name: not a patch's name"),
    ("/boot/xen.gz", "boot/xen.gz", "files[0].path: not an absolute path"),
    ("/boot/xen.gz", "/boot/../xen.gz", "files[0].path: not an absolute path"),
    ("/boot/xen.gz", "/etc/tool.conf", "/etc/tool.conf: is there twice"),
    ("/boot/xen.gz", "/etc/tool.conf/x", "cannot be a file with"),
    ('"0600"', "600", "files[2].mode: Expected `str`"),
    ('"0600"', '"u=rw"', "files[2].mode: not four octal digits"),
    ("mode =", 'owner = "Root"\nmode =', "files[2].owner: not the name"),
    (
        PATCH,
        '[guidance]\nfull = ["RebootHostOnLivePatchFailure"]\n' + PATCH,
        "is none of reboot_host",
    ),
    (PATCH, '[guidance]\nfull = ["boot"]\n' + PATCH, "'boot' is none of reboot_host"),
    (PATCH, "[guidance]\nall = []\n" + PATCH, "guidance.all: none of mandatory"),
    (PATCH, "[guidance]\nfull = []\n" + PATCH, "recommended: lacks reboot_host"),
    (PATCH, 'requires = ["LPU-1"]\n' + PATCH, "requires: the update itself"),
    (PATCH, 'conflicts = ["LPU-1"]\n' + PATCH, "conflicts: the update itself"),
    (
        PATCH,
        'requires = ["A", "B"]\nconflicts = ["B"]\n' + PATCH,
        "conflicts: B is required, too",
    ),
    ('source = "tool"', 'source = "/etc"', "/etc: not a file"),
    ('source = "tool"', 'source = "gone"', "gone: no such file"),
    (PATCH, '[[packages]]\nfile = "tool"\n' + PATCH, "neither a .deb nor an .rpm"),
]


@pytest.mark.parametrize(("old", "new", "complaint"), WRONG)
def test_what_is_wrong_is_named_with_its_place(
    cli: Cli, work: Path, old: str, new: str, complaint: str
) -> None:
    assert old in UPDATE
    (work / "update.toml").write_text(UPDATE.replace(old, new, 1))
    code, _, err = cli("bundle", "create", "update.toml")
    assert code == 13
    assert complaint in err
    assert err.startswith("lpengine: update.toml: ")
    assert not list(work.glob("*.lpu"))


def test_directories_in_the_place_of_files(cli: Cli, work: Path) -> None:
    code, _, err = cli("bundle", "create", ".")
    assert (code, err) == (13, "lpengine: .: not a file\n")
    code, _, err = cli("bundle", "create", "update.toml", "-o", ".")
    assert (code, "a directory" in err) == (2, True)
    assert not list(work.glob(".*"))


def test_an_update_of_nothing(cli: Cli, work: Path) -> None:
    (work / "update.toml").write_text('id = "LPU-1"\n')
    code, _, err = cli("bundle", "create", "update.toml")
    assert (code, "without live patches" in err) == (13, True)


def test_a_payload_that_breaks_a_rule_is_not_packed(cli: Cli, work: Path) -> None:
    raw = (work / "fix.livepatch").read_bytes()
    (work / "fix.livepatch").write_bytes(raw[: len(raw) // 2])
    code, _, err = cli("bundle", "create", "update.toml")
    assert (code, "fix.livepatch" in err) == (13, True)


def test_nothing_in_an_update_moves_the_cursor(cli: Cli, work: Path) -> None:
    """Neither in what is shown of one, nor in what is said against one."""
    evil = "\x1b[2J"
    data = {"schema": "lpengine/update/1", "id": "LPU-1", evil: 1, "title": evil}
    data["guidance"] = {evil: [evil]}
    (work / "evil.lpu").write_bytes(archive([("manifest.json", json.dumps(data))]))
    code, out, _ = cli("bundle", "inspect", "evil.lpu")
    assert (code, evil in out, "\\x1b[2J: unknown" in out) == (0, False, True)
    data["files"] = [{evil: 1}]
    (work / "evil.lpu").write_bytes(archive([("manifest.json", json.dumps(data))]))
    code, _, err = cli("bundle", "inspect", "evil.lpu")
    assert (code, evil in err, "\\x1b[2J" in err) == (13, False, True)


def test_verify_tells_of_what_is_not_understood(
    cli: Cli, work: Path, key: Path
) -> None:
    data = {"schema": "lpengine/update/1", "id": "LPU-1", "phase": "full moon"}
    (work / "a.lpu").write_bytes(archive([("manifest.json", json.dumps(data))]))
    assert cli("bundle", "sign", "a.lpu", "--key", key)[0] == 0
    (work / "signers").write_text(f"me {key.with_suffix('.pub').read_text()}")
    code, out, _ = cli("bundle", "verify", "a.lpu", "--signers", "signers")
    assert (code, "1 part not understood" in out) == (0, True)


@pytest.mark.system
def test_a_module_for_the_kernel_says_what_it_is_for(
    cli: Cli, work: Path, linux_image: Stock
) -> None:
    source = Path(__file__).parent.parent / "fixtures/klp/cmdline.c"
    built = ("build", "c", source, "--replace", "cmdline_proc_show")
    assert cli(*built, "--image", linux_image.kernel, "-o", "lp_cmdline.ko")[0] == 0
    text = UPDATE.replace('"xen"', '"kernel"').replace("fix.livepatch", "lp_cmdline.ko")
    (work / "update.toml").write_text(text)
    assert cli("bundle", "create", "update.toml")[0] == 0
    with open_update("LPU-1.lpu") as bundle:
        bundle.check_contents()
        (livepatch,) = bundle.update.livepatches
    build_id = open_kernel(linux_image.kernel).build_id
    assert (livepatch.base_build_id, livepatch.name) == (build_id, "lp_cmdline")
    lie = 'base = "4.17.5-8"\nname = "lp_other"'
    (work / "update.toml").write_text(text.replace('base = "4.17.5-8"', lie))
    code, _, err = cli("bundle", "create", "update.toml")
    assert (code, "called lp_cmdline, not lp_other" in err) == (13, True)

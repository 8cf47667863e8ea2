"""XenServer's own layout: updateinfo.xml, what its packages provide, where they put
live patches. Malformed parts are never dropped in silence."""

import gzip
import json
import lzma
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lpengine.cli import run
from lpengine.errors import InputError, NotFoundError
from lpengine.package import read_updates
from lpengine.package.doubts import Malformed
from lpengine.package.model import (
    Applicability,
    Defect,
    Inequality,
    Level,
    LivePatch,
    Update,
    Version,
)
from lpengine.package.xenserver.layout import find_installed, read_layout
from lpengine.package.xenserver.livepatch import file_name, parse_provide
from lpengine.package.xenserver.updateinfo import read_updateinfo
from tests.test_package_files import TAGS, make_rpm

ONE, OTHER = "8346194f2e98a228f5a595b13ecabd43a99fada0", "0fb0" * 10

FULL = f"""<?xml version="1.0" encoding="UTF-8"?>
<updates>
  <update type="security">
    <id>XS-2026-0001</id>
    <title>A title</title>
    <summary>A summary</summary>
    <description>What it is.</description>
    <special_info>Mind the gap.</special_info>
    <url>https://example.org/1</url>
    <guidance>
      <mandatory/>
      <recommended>
        <value>RebootHost</value>
        <value>EvacuateHost</value>
      </recommended>
      <full><value>RestartVM</value><value>RestartDeviceModel</value></full>
      <livepatch><value>RestartToolstack</value></livepatch>
    </guidance>
    <guidance_applicabilities>
      <applicability>
        <name>xen-hypervisor</name><arch>x86_64</arch>
        <inequality>lte</inequality>
        <epoch>None</epoch><version>4.17.4</version><release>1.xs8</release>
      </applicability>
      <applicability>
        <name>kernel</name><arch>x86_64</arch>
        <inequality>lt</inequality>
        <epoch>2</epoch><version>4.19.19</version><release>8.0.21.xs8</release>
      </applicability>
    </guidance_applicabilities>
    <livepatches>
      <livepatch component="kernel" base="4.19.19-8.0.19.xs8"
                 to="4.19.19-8.0.21.xs8" base-buildid="{ONE}"/>
      <livepatch component="Xen" base="4.17.4-1.xs8" to="4.17.4-6.xs8"
                 base-buildid="{OTHER.upper()}"/>
    </livepatches>
    <issued date="2026-05-12 08:37:49"/>
    <severity>High</severity>
    <pkglist><collection><package name="xen"/></collection></pkglist>
  </update>
</updates>
"""

KERNEL_PATCH = LivePatch(
    "kernel",
    ONE,
    Version("4.19.19", "8.0.19.xs8"),
    Version("4.19.19", "8.0.21.xs8"),
    name="lp_4_19_19__8_0_19_xs8__4_19_19__8_0_21_xs8",
)
XEN_PATCH = LivePatch(
    "xen",
    OTHER,
    Version("4.17.4", "1.xs8"),
    Version("4.17.4", "6.xs8"),
    name="lp_4.17.4-1.xs8-4.17.4-6.xs8",
)


def read(text: str) -> tuple[Update, ...]:
    return read_updateinfo(text.encode(), "updateinfo.xml")


def one(inner: str, attributes: str = 'type="security"') -> Update:
    """The update with these elements beside those that it needs."""
    needed = "<id>U-1</id><summary>s</summary>"
    (update,) = read(
        f"<updates><update {attributes}>{needed}{inner}</update></updates>"
    )
    return update


def test_everything_is_read() -> None:
    assert read(FULL) == (
        Update(
            id="XS-2026-0001",
            title="A title",
            summary="A summary",
            description="What it is.\n\nMind the gap.",
            type="security",
            url="https://example.org/1",
            issued="2026-05-12T08:37:49Z",
            severity="high",
            components=("kernel", "xen"),
            livepatches=(KERNEL_PATCH, XEN_PATCH),
            guidance={
                Level.RECOMMENDED: ("reboot_host", "evacuate_host"),
                Level.FULL: ("restart_vm", "restart_device_model"),
                Level.LIVEPATCH: ("restart_toolstack",),
            },
            applicabilities=(
                Applicability(
                    "xen-hypervisor",
                    "x86_64",
                    Inequality.LTE,
                    Version("4.17.4", "1.xs8"),
                ),
                Applicability(
                    "kernel",
                    "x86_64",
                    Inequality.LT,
                    Version("4.19.19", "8.0.21.xs8", 2),
                ),
            ),
        ),
    )


def row(**changes: str | None) -> str:
    good = {
        "component": "xen",
        "base": "4.17.4-1.xs8",
        "to": "4.17.4-6.xs8",
        "base-buildid": OTHER,
    }
    names = {"build_id": "base-buildid"}
    for name, value in changes.items():
        good[names.get(name, name)] = value  # type: ignore[assignment]
    attributes = (f'{k}="{v}"' for k, v in good.items() if v is not None)
    return f"<livepatch {' '.join(attributes)}/>"


BAD_ROWS = [
    (row(base=None), "base"),
    (row(base=""), "base"),
    (row(base="4.17.4"), "base"),
    (row(base="4.17.4-"), "base"),
    (row(base="-1.xs8"), "base"),
    (row(base="4.17.4-1-2"), "base"),
    (row(to=None), "to"),
    (row(to="4.17.4 -6"), "to"),
    (row(to="4.17.4-6/../.."), "to"),
    (row(build_id=None), "base-buildid"),
    (row(build_id=""), "base-buildid"),
    (row(build_id="../../etc"), "base-buildid"),
]


@pytest.mark.parametrize(("bad", "where"), BAD_ROWS)
def test_a_bad_row_is_no_live_patch_and_its_component_not_covered(
    bad: str, where: str
) -> None:
    update = one(f"<livepatches>{row(component='kernel')}{bad}</livepatches>")
    assert [each.component for each in update.livepatches] == ["kernel"]
    assert update.components == ("kernel", "xen")
    (defect,) = update.defects
    assert (defect.where, defect.component) == (f"livepatches[1].{where}", "xen")


@pytest.mark.parametrize(
    "bad", [row(component=None), row(component="firmware"), "<patch/>"]
)
def test_a_row_of_no_known_component_uncovers_all(bad: str) -> None:
    update = one(f"<livepatches>{row()}{bad}</livepatches>")
    assert len(update.livepatches) == 1
    (defect,) = update.defects
    assert (defect.where, defect.component) == ("livepatches[1]", "xen")
    assert "reboot_host" in update.guidance[Level.RECOMMENDED]


WORDS = [
    ("RebootHost", "reboot_host", 0),
    ("RestartToolstack", "restart_toolstack", 0),
    ("EvacuateHost", "evacuate_host", 0),
    ("RestartDeviceModel", "restart_device_model", 0),
    ("RestartVM", "restart_vm", 0),
    (" RestartVM\n", "restart_vm", 0),
    # Not read from XML, so they count as a reboot; and so does what is only ours.
    ("RebootHostOnXenLivePatchFailure", "reboot_host", 1),
    ("reboothost", "reboot_host", 1),
    ("restartXAPI", "reboot_host", 1),
    ("RestartProcess", "reboot_host", 1),
    ("restart_toolstack", "reboot_host", 1),
    ("restart_process", "reboot_host", 1),
    ("", "reboot_host", 1),
    ("<b>RestartVM</b>", "reboot_host", 1),
]


@pytest.mark.parametrize(("text", "word", "defects"), WORDS)
@pytest.mark.parametrize("level", list(Level))
def test_guidance_words(text: str, word: str, defects: int, level: Level) -> None:
    update = one(f"<guidance><{level}><value>{text}</value></{level}></guidance>")
    assert update.guidance == {level: (word,)}
    assert len(update.defects) == defects


def test_what_is_no_value_counts_as_a_reboot() -> None:
    update = one("<guidance><full><wert>RestartVM</wert></full></guidance>")
    assert update.guidance == {Level.FULL: ("reboot_host",)}


def test_an_unknown_kind_is_reported() -> None:
    update = one("<guidance><urgent><value>RebootHost</value></urgent></guidance>")
    assert update.guidance == {}
    assert update.defects == (Defect("guidance.urgent", "unknown"),)


RETIRED = """
<absolute_guidance>RebootHost</absolute_guidance>
<recommended_guidance>RestartToolstack</recommended_guidance>
<livepatch_guidance>RestartVM</livepatch_guidance>
"""


def test_retired_elements_are_told_of_and_not_read() -> None:
    update = one(RETIRED + "<guidance/>")
    assert (update.guidance, update.defects) == ({}, ())
    update = one(RETIRED)
    assert update.guidance == {}
    assert [(each.where, each.component) for each in update.defects] == [
        ("absolute_guidance", ""),
        ("recommended_guidance", ""),
        ("livepatch_guidance", ""),
    ]


@pytest.mark.parametrize(
    ("date", "issued", "defects"),
    [
        ("2023-05-12 08:37:49", "2023-05-12T08:37:49Z", 0),
        ("2023-05-12T08:37:49Z", "2023-05-12T08:37:49Z", 0),
        ("", "", 0),
        ("12 May 2023", "", 1),
        ("2023-05-12T08:37:49+02:00", "", 1),
    ],
)
def test_when_it_was_issued(date: str, issued: str, defects: int) -> None:
    update = one(f'<issued date="{date}"/>')
    assert (update.issued, len(update.defects)) == (issued, defects)


APPLICABLE = {
    "name": "xen",
    "arch": "x86_64",
    "inequality": "gte",
    "version": "1",
    "release": "2",
}


def applicability(**changes: str) -> str:
    values = {**APPLICABLE, **changes}
    inner = "".join(f"<{tag}>{text}</{tag}>" for tag, text in values.items())
    return f"<applicability>{inner}</applicability>"


@pytest.mark.parametrize(
    ("epoch", "read_as"), [("None", None), ("", None), ("0", 0), ("3", 3)]
)
def test_epochs(epoch: str, read_as: int | None) -> None:
    text = applicability(epoch=epoch)
    update = one(f"<guidance_applicabilities>{text}</guidance_applicabilities>")
    (found,) = update.applicabilities
    assert found.version == Version("1", "2", read_as)


@pytest.mark.parametrize(
    "bad",
    [
        applicability(name=""),
        applicability(arch=""),
        applicability(version=""),
        applicability(release=""),
        applicability(inequality=""),
        applicability(inequality="ne"),
        applicability(epoch="x"),
        applicability(phase="full moon"),
        "<condition/>",
    ],
)
def test_guidance_with_an_unclear_condition_always_counts(bad: str) -> None:
    """XAPI would drop the condition and keep the others, which may not match."""
    text = applicability() + bad
    update = one(f"<guidance_applicabilities>{text}</guidance_applicabilities>")
    assert update.applicabilities == ()
    (defect,) = update.defects
    assert defect.where == "guidance_applicabilities[1]"


def test_what_is_unknown_is_reported() -> None:
    update = one("<preconditions/><severity>Low</severity><issued date='now'/>")
    assert [d.where for d in update.defects] == ["preconditions", "issued", "severity"]
    assert (update.severity, update.issued) == ("", "")


def test_severity_none() -> None:
    assert one("<severity>None</severity>").severity == "none"


UPDATE = '<update type="x"><id>U-1</id><summary>s</summary></update>'
INVALID = [
    ("", "not XML"),
    ("<updates>", "not XML"),
    ("<update/>", "<updates> must be"),
    (f"<updates>{UPDATE}{UPDATE}</updates>", "U-1 is there twice"),
    ("<updates><update><id>U-1</id><summary>s</summary></update></updates>", "type"),
    ('<updates><update type="x"><id>U-1</id></update></updates>', "no summary"),
    ('<updates><update type="x"><summary>s</summary></update></updates>', "no id"),
    ('<updates api="2"/>', "without an update"),
    ("<a>" * 40 + "</a>" * 40, "more than 32 deep"),
    ('<!DOCTYPE updates [<!ENTITY a "b">]><updates>&a;</updates>', "document type"),
    ('<!DOCTYPE updates SYSTEM "file:///etc/passwd"><updates/>', "document type"),
    ('<?xml version="1.0" encoding="UTF-7"?><updates/>', "not XML"),
]


@pytest.mark.parametrize(("text", "complaint"), INVALID)
def test_what_xapi_refuses_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        read(text)
    assert caught.value.message.startswith("updateinfo.xml: ")


def test_a_file_without_updates() -> None:
    assert read("<updates></updates>") == ()


def test_billions_of_laughs_are_not_heard() -> None:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 30))
    bomb = f'<!DOCTYPE x [<!ENTITY l0 "lol">{entities}]><updates>&l29;</updates>'
    with pytest.raises(InputError, match="document type"):
        read(bomb)


@given(st.text(alphabet="<>/&;'\"= abupdateslivepatch![]-", max_size=60))
def test_no_text_breaks_the_reader(inner: str) -> None:
    try:
        update = one(inner)
    except InputError:
        return
    assert update.id


# What packages provide.


def test_what_a_package_provides() -> None:
    versions = "base/4.17.4-1.xs8/to/4.17.4-6.xs8"
    text = f"livepatch(component/xen/{versions}/base-buildid/{OTHER})"
    assert parse_provide(text) == XEN_PATCH
    assert parse_provide("xen-livepatch = 4-1.xs8") is None


@pytest.mark.parametrize(
    "text",
    [
        "livepatch()",
        f"livepatch(component/vm/base/1-1/to/1-2/base-buildid/{ONE})",
        f"livepatch(component/xen/base/1/to/1-2/base-buildid/{ONE})",
        f"livepatch(component/xen/base/1-1/to/1-2/base-buildid/{ONE}) = 1",
        "livepatch(component/xen/base/1-1/to/1-2/base-buildid/)",
        f"livepatch(component/xen/to/1-2/base/1-1/base-buildid/{ONE})",
    ],
)
def test_a_live_patch_that_cannot_be_read_is_not_overlooked(
    text: str, tmp_path: Path
) -> None:
    with pytest.raises(Malformed):
        parse_provide(text)
    provides = (8, 2, f"tool\0{text}\0".encode())
    (tmp_path / "lp.rpm").write_bytes(make_rpm({**TAGS, 1047: provides}))
    (update,) = read_updates(tmp_path / "lp.rpm")
    assert update.livepatches == ()
    assert update.guidance == {Level.RECOMMENDED: ("reboot_host",)}
    (defect,) = update.defects
    assert defect.where == "provides[1]"


def test_a_package_of_live_patches_is_an_update(tmp_path: Path) -> None:
    versions = "base/4.17.4-{0}.xs8/to/4.17.4-6.xs8"
    text = f"livepatch(component/xen/{versions}/base-buildid/{{0}}{{0}})"
    texts = [text.format(number) for number in "123"]
    provides = (8, 3, b"".join(f"{text}\0".encode() for text in texts))
    (tmp_path / "lp.rpm").write_bytes(make_rpm({**TAGS, 1047: provides}))
    (update,) = read_updates(tmp_path / "lp.rpm")
    assert update.id == "tool-1:1.2-3.xs8"
    assert update.components == ("xen",)
    assert [each.base.release for each in update.livepatches] == [
        *("1.xs8", "2.xs8", "3.xs8")
    ]
    assert update.packages[0].name == "tool"
    assert update.defects == ()


# Where packages put them.


def install(root: Path, livepatch: LivePatch, target: str = "") -> Path:
    suffix = {"xen": "livepatch", "kernel": "ko"}[livepatch.component]
    directory = root / f"usr/lib/{livepatch.component}-livepatch"
    directory /= livepatch.base_build_id
    directory.mkdir(parents=True, exist_ok=True)
    name = target or file_name(livepatch)
    if "/" not in name:
        (directory / name).write_bytes(b"module")
    link = directory / f"livepatch.{suffix}"
    link.unlink(missing_ok=True)
    link.symlink_to(name)
    return directory / name


def test_what_is_installed_is_found(tmp_path: Path) -> None:
    paths = {each: install(tmp_path, each) for each in (XEN_PATCH, KERNEL_PATCH)}
    assert paths[XEN_PATCH].name == "lp_4_17_4__1_xs8__4_17_4__6_xs8.livepatch"
    found, defects = read_layout(tmp_path)
    assert {each.livepatch: each.path for each in found} == paths
    assert defects == ()
    for livepatch, path in paths.items():
        assert find_installed(livepatch, tmp_path) == path


def test_what_is_installed_is_an_update(tmp_path: Path) -> None:
    install(tmp_path, XEN_PATCH)
    install(tmp_path, KERNEL_PATCH, "lp_other.ko")
    (update,) = read_updates(tmp_path)
    assert update.livepatches == (XEN_PATCH,)
    assert update.components == ("kernel", "xen")
    assert [defect.component for defect in update.defects] == ["kernel"]


def test_nothing_is_installed(tmp_path: Path) -> None:
    assert read_layout(tmp_path) == ((), ())
    assert read_updates(tmp_path) == (Update("installed"),)
    with pytest.raises(Malformed, match="no link"):
        find_installed(XEN_PATCH, tmp_path)


@pytest.mark.parametrize(
    "target",
    [
        "lp_4_17_4__1_xs8__4_17_4.livepatch",
        "lp_4_17_4__1_xs8__4_17_4__6_xs8.ko",
        "4_17_4__1_xs8__4_17_4__6_xs8.livepatch",
        "lp_a__b__c__d__e.livepatch",
        "/etc/passwd",
        "../x/lp_4_17_4__1_xs8__4_17_4__6_xs8.livepatch",
        "lp_4_17_4__1_xs8__4_17_4__.livepatch",
    ],
)
def test_a_link_to_anything_else_is_a_defect(tmp_path: Path, target: str) -> None:
    install(tmp_path, XEN_PATCH, target)
    found, (defect,) = read_layout(tmp_path)
    assert found == ()
    assert defect.component == "xen"
    with pytest.raises(Malformed):
        find_installed(XEN_PATCH, tmp_path)


def test_a_live_patch_to_another_version_is_not_the_one(tmp_path: Path) -> None:
    """The link has moved on, or not yet: what metadata announces is not there."""
    install(tmp_path, XEN_PATCH, "lp_4_17_4__1_xs8__4_17_4__7_xs8.livepatch")
    with pytest.raises(Malformed, match=file_name(XEN_PATCH)):
        find_installed(XEN_PATCH, tmp_path)


def test_a_build_without_a_link_is_a_defect(tmp_path: Path) -> None:
    install(tmp_path, XEN_PATCH).with_name("livepatch.livepatch").unlink()
    found, (defect,) = read_layout(tmp_path)
    assert (found, defect.what, defect.component) == ((), "no link", "xen")


def test_a_module_that_is_no_link_is_a_defect(tmp_path: Path) -> None:
    path = install(tmp_path, XEN_PATCH)
    link = path.with_name("livepatch.livepatch")
    link.unlink()
    link.write_bytes(b"module")
    found, (defect,) = read_layout(tmp_path)
    assert (found, defect.what) == ((), "no link")


# As files.


PACKERS = {
    "updateinfo.xml": bytes,
    "abc-updateinfo.xml.gz": gzip.compress,
    "abc-updateinfo.xml.xz": lzma.compress,
    "abc-updateinfo.xml.zst": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("name", PACKERS)
def test_updateinfo_may_be_packed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(PACKERS[name](FULL.encode()))
    assert read_updates(tmp_path / name) == read(FULL)


def test_packed_bombs(tmp_path: Path) -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(65 << 20))
    (tmp_path / "updateinfo.xml.zst").write_bytes(bomb)
    with pytest.raises(InputError, match="unpacks to more"):
        read_updates(tmp_path / "updateinfo.xml.zst")
    with pytest.raises(NotFoundError, match="no such file"):
        read_updates(tmp_path / "none.xml")


def test_inspect_shows_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "updateinfo.xml"
    path.write_text(FULL)
    assert run(["bundle", "inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "recommended: reboot host, evacuate host" in shown
    assert OTHER in shown
    assert run(["bundle", "inspect", "--json", str(path)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "lpengine/updates/1"
    assert document["updates"][0]["livepatches"][1]["base_release"] == "1.xs8"

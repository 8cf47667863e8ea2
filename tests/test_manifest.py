"""Manifests: what is right comes back as it was, what is not is reported and taken as
unsafe, or refused as a whole."""

import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpengine.errors import InputError
from lpengine.package.manifest import Manifest, encode, json_schema
from lpengine.package.manifest_reader import read_manifest
from lpengine.package.model import Defect, Level, Task, Update
from tests.update_cases import an_update

GOOD: dict[str, Any] = json.loads(encode(an_update()))


def read(data: object) -> Update:
    return read_manifest(json.dumps(data).encode(), "manifest")[0]


def with_part(place: str, value: object) -> dict[str, Any]:
    """GOOD with one part exchanged: "files.0.mode"; None takes it out."""
    data = copy.deepcopy(GOOD)
    *parents, last = (int(p) if p.isdigit() else p for p in place.split("."))
    part: Any = data
    for parent in parents:
        part = part[parent]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return data


def test_an_update_comes_back_as_it_was() -> None:
    update, _ = read_manifest(encode(an_update()), "manifest")
    assert update == an_update()


def test_only_id_and_schema_are_needed() -> None:
    update = read({"schema": "lpengine/update/1", "id": "LPU-1"})
    assert update == Update("LPU-1")
    assert json.loads(encode(update)) == {"schema": "lpengine/update/1", "id": "LPU-1"}


WHOLE = [
    ("schema", "lpengine/update/2"),
    ("schema", None),
    ("id", None),
    ("id", ""),
    ("id", 7),
    ("id", "LPU-1\n"),
    ("id", "../LPU-1"),
    ("files", {}),
    ("files.0", []),
    ("files.0.path", "etc/motd"),
    ("files.0.path", "/etc/../motd"),
    ("files.0.path", "/etc/motd/"),
    ("files.0.path", "/etc//motd"),
    ("files.0.path", "/etc/./motd"),
    ("files.0.path", "/"),
    ("files.0.path", "/etc/\u0000motd"),
    ("files.0.path", "/etc/motd\n"),
    ("files.0.mode", "10644"),
    ("files.0.mode", "644"),
    ("files.0.mode", 420),
    ("files.0.mode", "0o644"),
    ("files.0.owner", "root:root"),
    ("files.0.owner", ""),
    ("files.0.group", 0),
    ("files.0.content", None),
    ("files.0.content.size", -1),
    ("files.0.content.size", 1 << 40),
    ("files.0.content.size", "8"),
    ("files.0.content.size", True),
    ("files.0.content.sha256", "ab"),
    ("files.0.content.sha256", "A" * 64),
    ("files.0.acl", "u::rwx"),
    ("packages.0.format", "msi"),
    ("packages.0.name", "../tool"),
    ("packages.0.version.epoch", -1),
    ("packages.0.scripts", "rm -rf /"),
    ("requires", "LPU-0"),
    ("requires.0", 0),
    ("conflicts", {}),
]


@pytest.mark.parametrize(("place", "value"), WHOLE)
def test_what_has_no_safe_reading_is_refused(place: str, value: object) -> None:
    with pytest.raises(InputError, match=r"^manifest: ") as caught:
        read(with_part(place, value))
    assert "\n" not in caught.value.message
    assert caught.value.hint


UNCOVERED = [
    ("livepatches.0.base_build_id", "xyz", "[0].base_build_id", "lowercase hex"),
    ("livepatches.0.base_build_id", "ABCD", "[0].base_build_id", "lowercase hex"),
    ("livepatches.0.base_build_id", "abcd\n", "[0].base_build_id", "lowercase hex"),
    ("livepatches.0.base_build_id", "", "[0].base_build_id", "lowercase hex"),
    ("livepatches.0.base_build_id", None, "[0]", "base_build_id"),
    ("livepatches.0.to", None, "[0]", "to"),
    ("livepatches.0.to.version", "", "[0].to.version", "version"),
    ("livepatches.0.to.release", "9 ", "[0].to.release", "release"),
    ("livepatches.0.to.epoch", "1", "[0].to.epoch", "int"),
    ("livepatches.0.name", "a/b", "[0].name", "patch's name"),
    ("livepatches.0.content.size", -5, "[0].content.size", ">= 0"),
    ("livepatches.0.only_on", "full moon", "[0]", "only_on"),
]


@pytest.mark.parametrize(("place", "value", "where", "what"), UNCOVERED)
def test_a_malformed_live_patch_covers_nothing(
    place: str, value: object, where: str, what: str
) -> None:
    update = read(with_part(place, value))
    (defect,) = update.defects
    assert update.livepatches == ()
    assert update.components == ("xen",)
    assert defect.component == "xen"
    assert defect.where == f"livepatches{where}"
    assert what in defect.what


def test_one_malformed_live_patch_leaves_the_others() -> None:
    rows = GOOD["livepatches"]
    bad = {**rows[0], "component": "kernel", "to": 5}
    update = read({**GOOD, "livepatches": [bad, *rows]})
    assert update.livepatches == an_update().livepatches
    assert update.components == ("xen", "kernel")
    assert [(d.where, d.component) for d in update.defects] == [
        ("livepatches[0].to", "kernel")
    ]


def test_two_live_patches_for_the_same() -> None:
    row = GOOD["livepatches"][0]
    update = read({**GOOD, "livepatches": [row, {**row, "name": "other"}]})
    (defect,) = update.defects
    assert (defect.component, defect.where) == ("xen", "livepatches[1]")
    assert read({**GOOD, "livepatches": [row, row]}) == an_update()


GENERAL = [
    ("livepatches", "all", "livepatches"),
    ("livepatches.0", "xen", "livepatches[0]"),
    ("livepatches.0.component", None, "livepatches[0]"),
    ("livepatches.0.component", "hypervisor", "livepatches[0]"),
    ("livepatches.0.component", ["xen"], "livepatches[0]"),
    ("guidance", ["reboot_host"], "guidance"),
    ("guidance.full", "reboot_host", "guidance.full"),
    ("preconditions", ["full moon"], "preconditions"),
]


@pytest.mark.parametrize(("place", "value", "where"), GENERAL)
def test_what_may_bear_on_anything_uncovers_everything(
    place: str, value: object, where: str
) -> None:
    data = with_part(place, value)
    data["components"] = ["kernel", "xen"]
    update = read(data)
    assert [d.where for d in update.defects] == [where, where]
    assert [d.component for d in update.defects] == ["kernel", "xen"]
    assert Task.REBOOT_HOST in update.guidance[Level.RECOMMENDED]


def test_an_unknown_part_of_an_update_without_live_patches() -> None:
    """There is nothing to uncover; a reboot is all that is safe."""
    update = read({"schema": "lpengine/update/1", "id": "LPU-1", "new": 1})
    assert update.guidance == {Level.RECOMMENDED: (Task.REBOOT_HOST,)}
    assert update.defects == (Defect("new", "unknown"),)


def test_an_unknown_component_is_never_covered() -> None:
    update = read({**GOOD, "components": ["xen", "firmware"]})
    assert update.components == ("xen", "firmware")
    (defect,) = update.defects
    assert defect.component == "firmware"
    assert update.livepatches == an_update().livepatches


def test_components_that_are_none() -> None:
    update = read({**GOOD, "components": ["xen", 5]})
    assert [(d.where, d.component) for d in update.defects] == [
        ("components[1]", "xen")
    ]


WORDS = [
    "reboot",
    "restartXAPI",
    "RebootHostOnXenLivePatchFailure",
    "reboot_host_on_xen_livepatch_failure",
    "reboot_host_on_livepatch_failure",
    5,
    None,
]


@pytest.mark.parametrize("word", WORDS)
def test_a_bad_word_counts_as_a_reboot(word: object) -> None:
    data = {**GOOD, "guidance": {"full": ["restart_vm", word]}}
    update = read(data)
    assert update.guidance == {Level.FULL: ("restart_vm", "reboot_host")}
    (defect,) = update.defects
    assert (defect.where, defect.component) == ("guidance.full", "")


def test_xapis_spelling_of_words_is_as_good() -> None:
    update = read({**GOOD, "guidance": {"full": ["RebootHost", "RestartVM"]}})
    assert update.guidance == {Level.FULL: ("reboot_host", "restart_vm")}
    assert update.defects == ()


def test_an_unknown_level_is_the_one_that_nothing_softens() -> None:
    guidance = {"urgent": ["restart_vm"], "mandatory": ["evacuate_host"]}
    update = read({**GOOD, "guidance": guidance})
    assert update.guidance == {Level.MANDATORY: ("restart_vm", "evacuate_host")}
    assert [d.where for d in update.defects] == ["guidance.urgent"]


CONDITIONS = [
    ("applicabilities.0.inequality", "ne"),
    ("applicabilities.0.name", ""),
    ("applicabilities.0.version", None),
    ("applicabilities.0.release", "1"),
    ("applicabilities.0", 7),
    ("applicabilities", "tool"),
]


@pytest.mark.parametrize(("place", "value"), CONDITIONS)
def test_guidance_with_an_unclear_condition_always_counts(
    place: str, value: object
) -> None:
    data = with_part(place, value)
    if isinstance(data["applicabilities"], list):
        data["applicabilities"] += GOOD["applicabilities"]
    update = read(data)
    assert update.applicabilities == ()
    assert update.defects


HARMLESS = [
    ("title", 5, "title", ""),
    ("title", "two\nlines", "title", ""),
    ("title", "\x1b[2J", "title", ""),
    ("issued", "yesterday", "issued", ""),
    ("severity", [], "severity", ""),
    ("cves.0", "CVE-1", "cves", ("CVE-2026-22222",)),
    ("homogeneous", "no", "homogeneous", True),
    ("homogeneous", 0, "homogeneous", True),
    ("installation_size", -1, "installation_size", None),
    ("installation_size", "huge", "installation_size", None),
]


@pytest.mark.parametrize(("place", "value", "field", "safe"), HARMLESS)
def test_what_has_a_safe_value_gets_it(
    place: str, value: object, field: str, safe: object
) -> None:
    update = read(with_part(place, value))
    (defect,) = update.defects
    assert defect.where.startswith(field)
    assert defect.component == ""
    if safe is None:
        parts = (*an_update().files, *an_update().packages)
        safe = sum(part.content.size for part in parts)
    assert getattr(update, field) == safe
    assert update.livepatches == an_update().livepatches


def test_half_a_character_is_no_text() -> None:
    with pytest.raises(InputError, match="surrogate"):
        read({**GOOD, "title": "\ud800"})


def test_what_is_endless_is_not_repeated_endlessly() -> None:
    long = "x" * 100_000
    data = {**GOOD, long: 1, "components": [long], "guidance": {long: [long]}}
    update = read({**data, "livepatches": [{**GOOD["livepatches"][0], long: 1}]})
    assert len(str(update)) < 10_000
    with pytest.raises(InputError) as caught:
        read(with_part("files.0." + long, 1))
    assert len(caught.value.message) < 1000


def test_the_schema_is_that_of_what_is_written() -> None:
    schema = json_schema()
    assert schema["$defs"]["Manifest"]["required"] == ["schema", "id"]
    msgspec.json.decode(encode(an_update()), type=Manifest)


# Whatever is in a manifest: an InputError, or an update that nobody need fear.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(part: object, path: tuple[str | int, ...] = ()) -> list[tuple]:
    found = [path] if path else []
    if isinstance(part, dict):
        for key, value in part.items():
            found += places(value, (*path, key))
    if isinstance(part, list):
        for index, value in enumerate(part):
            found += places(value, (*path, index))
    return found


def exchanged(place: tuple[str | int, ...], value: object) -> dict[str, Any]:
    data: Any = copy.deepcopy(GOOD)
    part = data
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    return data


@settings(max_examples=500)
@given(st.sampled_from(places(GOOD)), JSON)
def test_a_live_patch_is_as_it_was_or_not_relied_on(
    place: tuple[str | int, ...], value: object
) -> None:
    try:
        update = read(exchanged(place, value))
    except InputError:
        return
    for livepatch in an_update().livepatches:
        if livepatch in update.livepatches or place[0] != "livepatches":
            continue
        doubted = {defect.component for defect in update.defects}
        readable = [each.component for each in update.livepatches]
        # Or it was exchanged for another that is well formed.
        assert livepatch.component in doubted or readable or value == []


@given(JSON)
def test_any_json_is_refused_or_understood(data: object) -> None:
    for whole in (data, {**GOOD, "guidance": data}, {**GOOD, "livepatches": data}):
        try:
            update = read(whole)
        except InputError:
            continue
        assert json.loads(json.dumps(whole))["id"] == update.id


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(InputError):
        read_manifest(raw, "manifest")


@given(st.permutations(GOOD["files"]), st.permutations(list(GOOD.items())))
def test_order_says_nothing(files: list[Any], items: list[tuple[str, Any]]) -> None:
    assert encode(read({**dict(items), "files": files})) == encode(an_update())

"""Reads `updateinfo.xml`, what a XenServer repository says about its updates.

As XAPI reads it (ocaml/xapi/updateinfo.ml), but for one thing: XAPI drops in silence
what it cannot read, here that is a Defect and taken as unsafe.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from xml.etree.ElementTree import Element

from lpengine.errors import InputError
from lpengine.package.doubts import Doubts, Malformed
from lpengine.package.model import (
    FAILURES,
    XAPI_WORDS,
    Applicability,
    Inequality,
    Level,
    LivePatch,
    Task,
    Update,
    Version,
)
from lpengine.package.xenserver.livepatch import component_of, livepatch_of
from lpengine.package.xenserver.xml import parse_xml, text_of

# Before there was <guidance>. XAPI ignores these, and so no host ever does what they
# say.
_RETIRED = ("absolute_guidance", "recommended_guidance", "livepatch_guidance")
_READ = {
    *("id", "title", "summary", "description", "special_info", "url", "issued"),
    *("severity", "guidance", "guidance_applicabilities", "livepatches"),
    *_RETIRED,
}
# What yum has in such a file and no part of XenServer reads.
_OF_YUM = {
    *("updated", "pkglist", "references", "release", "rights", "solution", "pushcount"),
    *("reboot_suggested", "relogin_suggested", "restart_suggested", "message"),
}
_NO_EPOCH = ("", "None", "none", "(none)")


def read_updateinfo(raw: bytes, path: str) -> tuple[Update, ...]:
    """The updates that it describes, in its order. InputError where XAPI says
    INVALID_UPDATEINFO_XML."""
    root = parse_xml(raw, path)
    if root.tag != "updates":
        raise InputError(f"{path}: <{root.tag}> where <updates> must be")
    updates = tuple(_update(each, path) for each in root.iter("update"))
    if root.attrib and not updates:
        raise InputError(f"{path}: <updates> without an update in it")
    ids = [update.id for update in updates]
    if len(set(ids)) < len(ids):
        twice = next(each for each in ids if ids.count(each) > 1)
        raise InputError(f"{path}: the update {twice} is there twice")
    return updates


def _update(element: Element, path: str) -> Update:
    doubts = Doubts()
    texts = {tag: text_of(element.find(tag)) for tag in _READ}
    kind = element.get("type", "")
    for what, value in (("id", texts["id"]), ("summary", texts["summary"]),
                        ("type", kind)):  # fmt: skip
        if not value:
            raise InputError(f"{path}: the update {texts['id'] or '?'} has no {what}")
    components: list[str] = []
    livepatches = tuple(_livepatches(element, components, doubts))
    described = (texts["description"], texts["special_info"])
    for child in element:
        if child.tag not in _READ | _OF_YUM:
            doubts.note(child.tag, "unknown")
    return doubts.settle(
        Update(
            id=texts["id"],
            title=texts["title"],
            summary=texts["summary"],
            description="\n\n".join(filter(None, described)),
            type=kind,
            url=texts["url"],
            issued=_issued(element.find("issued"), doubts),
            severity=_severity(texts["severity"], doubts),
            components=tuple(components),
            livepatches=livepatches,
            guidance=_guidance(element, doubts),
            applicabilities=_applicabilities(element, doubts),
        )
    )


def _livepatches(
    update: Element, components: list[str], doubts: Doubts
) -> Iterator[LivePatch]:
    """The rows that can be relied on; `components` gets all that there are."""
    for number, row in enumerate(_children(update, "livepatches")):
        where = f"livepatches[{number}]"
        component = component_of(row.get("component", ""))
        if row.tag != "livepatch" or not component:
            doubts.general(where, "of no known component")
            continue
        if component not in components:
            components.append(component)
        try:
            yield livepatch_of(
                component,
                row.get("base", ""),
                row.get("to", ""),
                row.get("base-buildid", ""),
            )
        except Malformed as error:
            doubts.about(component, f"{where}.{error.where}", error.what)


def _guidance(update: Element, doubts: Doubts) -> dict[Level, tuple[str, ...]]:
    if update.find("guidance") is None:
        for tag in _RETIRED:
            if update.find(tag) is not None:
                doubts.note(tag, "retired, and not read")
    found: dict[Level, tuple[str, ...]] = {}
    for kind in _children(update, "guidance"):
        where = f"guidance.{kind.tag}"
        if kind.tag not in list(Level):
            doubts.note(where, "unknown")
            continue
        words = tuple(
            _word(text_of(value) if value.tag == "value" else "", where, doubts)
            for value in kind
        )
        found[Level(kind.tag)] = found.get(Level(kind.tag), ()) + words
    return {level: words for level, words in found.items() if words}


def _word(text: str, where: str, doubts: Doubts) -> Task:
    """The task of a word. Those of others than XAPI's metadata are none here."""
    task = XAPI_WORDS.get(text, Task.REBOOT_HOST)
    if text not in XAPI_WORDS or task in FAILURES:
        doubts.note(where, f"{text!r} is unknown, counts as {Task.REBOOT_HOST}")
        return Task.REBOOT_HOST
    return task


def _applicabilities(update: Element, doubts: Doubts) -> tuple[Applicability, ...]:
    """The conditions; none where one of them is unclear, so that guidance counts."""
    found = []
    for number, row in enumerate(_children(update, "guidance_applicabilities")):
        try:
            found.append(_applicability(row))
        except Malformed as error:
            where = f"guidance_applicabilities[{number}]"
            doubts.note(where, f"{error.what}; its guidance always counts")
            return ()
    return tuple(found)


def _applicability(row: Element) -> Applicability:
    values = {child.tag: text_of(child) for child in row}
    epoch = values.pop("epoch", "")
    inequality = values.pop("inequality", "")
    needed = {"name", "arch", "version", "release"}
    if row.tag != "applicability" or values.keys() != needed or "" in values.values():
        raise Malformed("", "not name, arch, version and release")
    if inequality not in list(Inequality):
        raise Malformed("", f"{inequality!r} compares nothing")
    if epoch not in _NO_EPOCH and not re.fullmatch(r"[0-9]{1,10}", epoch):
        raise Malformed("", f"{epoch!r} is no epoch")
    return Applicability(
        name=values["name"],
        architecture=values["arch"],
        inequality=Inequality(inequality),
        version=Version(
            values["version"],
            values["release"],
            None if epoch in _NO_EPOCH else int(epoch),
        ),
    )


def _issued(element: Element | None, doubts: Doubts) -> str:
    date = "" if element is None else element.get("date", "")
    if not date:
        return ""
    for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"):
        try:
            return f"{datetime.strptime(date, form):%Y-%m-%dT%H:%M:%SZ}"
        except ValueError:
            continue
    doubts.note("issued", f"{date!r} is no time")
    return ""


def _severity(text: str, doubts: Doubts) -> str:
    if text not in ("", "None", "High"):
        doubts.note("severity", f"{text!r} is unknown")
        return ""
    return text.lower()


def _children(update: Element, tag: str) -> Iterable[Element]:
    """What is in all elements of that tag."""
    return (child for each in update.findall(tag) for child in each)

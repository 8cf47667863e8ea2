"""The module of a live patch: what it is called, and where its bytes are."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from lpengine.errors import NotFoundError
from lpengine.installer.site import Site
from lpengine.journal.host import HostJournal
from lpengine.journal.host_entries import KeptModule
from lpengine.package.bundle import Bundle
from lpengine.package.doubts import Malformed
from lpengine.package.model import KERNEL, XEN, LivePatch
from lpengine.package.xenserver.layout import find_installed
from lpengine.package.xenserver.livepatch import loaded_name


def name_of(livepatch: LivePatch) -> str:
    """What it is called once it is loaded, by whoever loads it; "" where nobody can
    tell."""
    if livepatch.name:
        return livepatch.name
    if livepatch.content is not None:
        return PurePosixPath(livepatch.content.member).stem
    if livepatch.component in (XEN, KERNEL):
        return loaded_name(livepatch.component, livepatch.base, livepatch.to)
    return ""


def kept_modules(bundle: Bundle) -> tuple[KeptModule, ...]:
    """All modules of an update, for any build that may come to run here."""
    contents = {one.content for one in bundle.update.livepatches if one.content}
    return tuple(
        KeptModule(content.sha256, bundle.read(content))
        for content in sorted(contents, key=lambda one: one.member)
    )


def module_bytes(
    site: Site,
    journal: HostJournal,
    livepatch: LivePatch,
    coming: Iterable[Bundle] = (),
) -> bytes:
    """From the update that brings it, from the journal, which has kept it, or from the
    file on the disk that the update's package has put there. `NotFoundError` where
    none of these has it."""
    content = livepatch.content
    if content is None:
        return installed_module(site, livepatch)
    for bundle in coming:
        if content in bundle.contents:
            return bundle.read(content)
    kept = journal.module(content.sha256)
    if kept is None:
        raise NotFoundError(
            f"the module of {name_of(livepatch)} is not at hand",
            hint="install the update that brings it once more",
        )
    return kept


def installed_module(site: Site, livepatch: LivePatch) -> bytes:
    try:
        return find_installed(livepatch, site.root).read_bytes()
    except (Malformed, KeyError, OSError) as error:
        raise NotFoundError(
            f"the module of {name_of(livepatch)} is not where packages put it: {error}"
        ) from error

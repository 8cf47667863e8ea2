"""Updates from whatever describes them: a bundle, XenServer's updateinfo.xml, or a
package that brings live patches."""

from pathlib import Path

from lpengine.errors import InputError
from lpengine.package.bundle import open_update
from lpengine.package.contents import content_of
from lpengine.package.distribution import PREFIX, read_package
from lpengine.package.doubts import Doubts, Malformed
from lpengine.package.files import read_small, read_start
from lpengine.package.model import DiskPackage, Level, LivePatch, Task, Update
from lpengine.package.package_file import PackageFile
from lpengine.package.unpack import UnpackError, unpack
from lpengine.package.xenserver.layout import read_layout
from lpengine.package.xenserver.livepatch import parse_provide
from lpengine.package.xenserver.updateinfo import read_updateinfo
from lpengine.package.xenserver.xml import LARGEST

_XML = (".xml", ".xml.gz", ".xml.xz", ".xml.zst")


def is_metadata(path: Path) -> bool:
    """Whether it is not a bundle, by its name."""
    return path.is_dir() or path.name.endswith((*_XML, ".rpm"))


def read_updates(path: Path) -> tuple[Update, ...]:
    """The updates that a file describes: the one of a bundle or of an .rpm with live
    patches, all of an updateinfo.xml, packed or not. A directory is the root of a
    system, and the update what live patches XenServer's packages have put there."""
    if path.is_dir():
        return (installed_update(path),)
    if path.name.endswith(".rpm"):
        return (read_livepatch_package(path),)
    if path.name.endswith(_XML):
        try:
            return read_updateinfo(
                unpack(read_small(path, LARGEST), LARGEST), str(path)
            )
        except UnpackError as error:
            raise InputError(f"{path}: {error}") from None
    with open_update(path) as bundle:
        return (bundle.update,)


def installed_update(root: Path) -> Update:
    """What is installed under `root`, as an update."""
    installed, defects = read_layout(root)
    livepatches = tuple(each.livepatch for each in installed)
    components = {each.component for each in livepatches}
    components.update(defect.component for defect in defects)
    return Update(
        id="installed",
        components=tuple(sorted(components)),
        livepatches=livepatches,
        guidance={Level.RECOMMENDED: (Task.REBOOT_HOST,)} if components else {},
        defects=defects,
    )


def read_livepatch_package(path: Path) -> Update:
    """The update that a package with live patches is, as XenServer and XCP-ng build
    them: what it provides says what its modules patch. Where none of them applies a
    reboot is left."""
    try:
        found = read_package(read_start(path, PREFIX), path.name)
    except Malformed as error:
        raise InputError(f"{path.parent / error.where}: {error.what}") from None
    doubts = Doubts()
    livepatches = _provided(found, doubts)
    content = content_of(path.name, path)
    package = DiskPackage(
        found.format, found.name, found.architecture, found.version, content
    )
    return doubts.settle(
        Update(
            id=f"{found.name}-{found.version}",
            components=tuple(sorted({each.component for each in livepatches})),
            livepatches=livepatches,
            packages=(package,),
            guidance={Level.RECOMMENDED: (Task.REBOOT_HOST,)},
            installation_size=found.installed_size,
        )
    )


def _provided(found: PackageFile, doubts: Doubts) -> tuple[LivePatch, ...]:
    livepatches = []
    for number, text in enumerate(found.provides):
        try:
            if livepatch := parse_provide(text):
                livepatches.append(livepatch)
        except Malformed as error:
            doubts.general(f"provides[{number}]", f"{error.where}: {error.what}")
    return tuple(livepatches)

"""Updates as lines for people."""

from collections.abc import Iterator

from lpengine.package.model import Update
from lpengine.report.table import counted, printable
from lpengine.report.values import Packed, Verified

Rows = Iterator[tuple[str, ...]]

LIVEPATCH_HEADINGS = ("COMPONENT", "BASE BUILD ID", "FROM", "TO", "NAME", "BYTES")
FILE_HEADINGS = ("FILE", "MODE", "OWNER", "BYTES")
PACKAGE_HEADINGS = ("PACKAGE", "VERSION", "ARCHITECTURE", "FORMAT", "BYTES")


def packed_lines(packed: Packed) -> Iterator[str]:
    yield f"Bundle      {packed.path}  {packed.size} bytes"
    yield f"Digest      {packed.digest}"
    if packed.signed_by:
        yield f"Signature   by the key {printable(packed.signed_by)}, not verified here"
    else:
        yield "Signature   none"
    yield from update_lines(packed.update)


def update_lines(update: Update) -> Iterator[str]:
    yield f"Update      {printable(f'{update.id}  {update.title}'.rstrip())}"
    for heading, text in (
        ("Summary", update.summary),
        ("Severity", update.severity),
        ("Issued", update.issued),
        ("Type", update.type),
        ("See", update.url),
        ("Fixes", ", ".join(update.cves)),
        ("Components", ", ".join(update.components)),
        ("Requires", ", ".join(update.requires)),
        ("Conflicts", ", ".join(update.conflicts)),
    ):
        if text:
            yield f"{heading:<12}{printable(text)}"
    if update.installation_size:
        yield f"Disk space  {update.installation_size} bytes"
    if update.homogeneous:
        yield "Pool        on all hosts or on none"
    for level, words in update.guidance.items():
        tasks = ", ".join(map(str, words)).replace("_", " ")
        yield f"Guidance    {level}: {printable(tasks) or 'nothing'}"
    for each in update.applicabilities:
        package = f"{each.name} ({each.architecture}) {each.inequality} {each.version}"
        yield f"  where     {printable(package)}"
    for defect in update.defects:
        unsafe = f"; {defect.component} is not covered" if defect.component else ""
        yield f"!           {printable(f'{defect.where}: {defect.what}{unsafe}')}"
    for line in update.description.splitlines():
        yield f"            {printable(line)}"


def livepatch_rows(update: Update) -> Rows:
    for each in update.livepatches:
        size = str(each.content.size) if each.content else "-"
        versions = (str(each.base), str(each.to))
        yield (each.component, each.base_build_id, *versions, each.name or "-", size)


def file_rows(update: Update) -> Rows:
    for each in update.files:
        owner = f"{each.owner}:{each.group}"
        yield (printable(each.path), f"{each.mode:04o}", owner, str(each.content.size))


def package_rows(update: Update) -> Rows:
    for each in update.packages:
        size = str(each.content.size)
        yield (each.name, str(each.version), each.architecture, each.format, size)


def verified_lines(verified: Verified) -> Iterator[str]:
    packed = verified.packed
    whole = counted(verified.contents, "content")
    yield f"{packed.path}: {packed.update.id}, whole: {whole}"
    yield f"Digest      {packed.digest}"
    signer = verified.signer
    yield f"Signed by   {printable(signer.principals)}  {signer.fingerprint}"
    if defects := len(packed.update.defects):
        parts = counted(defects, "part")
        yield f"!           {parts} not understood: lpengine bundle inspect"

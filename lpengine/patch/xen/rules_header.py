"""Xen's checks of an upload's arguments and of the ELF header."""

from lpengine.elf.constants import EM_X86_64, ET_REL
from lpengine.elf.layout import HEADER, MAGIC, SECTION_HEADER, RawHeader
from lpengine.patch.xen import layout
from lpengine.patch.xen.violations import Violations

_CLASS_64 = 2
_LITTLE_ENDIAN = 1
_CURRENT = 1
_OSABI_NONE = 0
_OSABI_FREEBSD = 9


def check_upload(name: str, raw: bytes, violations: Violations) -> None:
    """common/livepatch.c, get_name and verify_payload."""
    encoded = name.encode("utf-8", "surrogatepass")
    if not 1 <= len(encoded) <= layout.LARGEST_NAME:
        violations.refuse(
            "bad-name",
            "name",
            f"{len(encoded)} bytes",
            f"1 to {layout.LARGEST_NAME} bytes",
        )
    elif b"\0" in encoded:
        violations.refuse("bad-name", "name", "a NUL byte", "no NUL")
    if not raw:
        violations.refuse("payload-empty", "file", "0 bytes", "an ELF file")
    elif len(raw) > layout.LARGEST_FILE:
        violations.refuse(
            "payload-too-large",
            "file",
            f"{len(raw)} bytes",
            f"at most {layout.LARGEST_FILE} bytes",
        )


def read_header(raw: bytes, violations: Violations) -> RawHeader | None:
    """common/livepatch_elf.c, livepatch_header_check. None where nothing behind the
    header can be read."""
    if len(raw) < HEADER.size or raw[:4] != MAGIC:
        if raw:
            found = f"{len(raw)} bytes" if len(raw) < HEADER.size else raw[:4].hex()
            violations.refuse(
                "not-elf", "ELF header", found, f"{HEADER.size} bytes, 7f454c46 first"
            )
        return None
    header = RawHeader._make(HEADER.unpack_from(raw))
    _check_kind(header, violations)
    if not _check_machine(header, violations):
        return None
    return header if _check_sections(header, len(raw), violations) else None


def _check_kind(header: RawHeader, violations: Violations) -> None:
    fields = (
        ("version", header.version, (_CURRENT,)),
        ("EI_VERSION", header.ident[6], (_CURRENT,)),
        ("EI_ABIVERSION", header.ident[8], (0,)),
        ("EI_OSABI", header.ident[7], (_OSABI_NONE, _OSABI_FREEBSD)),
        ("type", header.type, (int(ET_REL),)),
        ("number of segments", header.program_header_count, (0,)),
    )
    wrong = [entry for entry in fields if entry[1] not in entry[2]]
    if wrong:
        violations.refuse(
            "header-invalid",
            "ELF header",
            ", ".join(f"{name} {value}" for name, value, _ in wrong),
            ", ".join(
                f"{name} {' or '.join(map(str, allowed))}" for name, _, allowed in wrong
            ),
        )


def _check_machine(header: RawHeader, violations: Violations) -> bool:
    """arch/x86/livepatch.c, arch_livepatch_verify_elf."""
    found = (header.machine, header.ident[4], header.ident[5])
    needed = (int(EM_X86_64), _CLASS_64, _LITTLE_ENDIAN)
    if found == needed:
        return True
    words = "machine {}, class {}, byte order {}"
    violations.refuse(
        "wrong-machine", "ELF header", words.format(*found), words.format(*needed)
    )
    return False


def _check_sections(header: RawHeader, size: int, violations: Violations) -> bool:
    count, names = header.section_header_count, header.section_name_index
    if names == 0:
        violations.refuse(
            "no-section-names", "ELF header", "section 0", "a string table's number"
        )
    if count > layout.SECTIONS_MAX:
        violations.refuse(
            "too-many-sections",
            "ELF header",
            f"{count} sections",
            f"at most {layout.SECTIONS_MAX}",
        )
    if names and names >= count:
        violations.refuse(
            "no-section-names", "ELF header", f"section {names}", f"below {count}"
        )
    return _check_table(header, size, violations) and 0 < names < count


def _check_table(header: RawHeader, size: int, violations: Violations) -> bool:
    start, entry = header.section_header_offset, header.section_header_size
    observed = ""
    if start >= size:
        observed = f"section headers at {start:#x} of {size:#x} bytes"
    elif entry < SECTION_HEADER.size:
        observed = f"section headers of {entry} bytes"
    elif (size - start) // entry < header.section_header_count:
        observed = (
            f"{header.section_header_count} section headers of {entry} bytes at "
            f"{start:#x} of {size:#x} bytes"
        )
    if observed:
        violations.refuse(
            "section-headers-corrupt",
            "ELF header",
            observed,
            f"headers of {SECTION_HEADER.size} bytes or more inside the file",
        )
    return not observed

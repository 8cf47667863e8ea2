"""The kinds of entries that are read, by DWARF's names."""

from enum import IntEnum


class Tag(IntEnum):
    """DW_TAG_*: DWARF 5, table 7.3."""

    ARRAY = 0x01
    CLASS = 0x02
    ENUMERATION = 0x04
    PARAMETER = 0x05
    MEMBER = 0x0D
    POINTER = 0x0F
    UNIT = 0x11
    STRUCTURE = 0x13
    SUBROUTINE = 0x15
    TYPEDEF = 0x16
    UNION = 0x17
    MORE_PARAMETERS = 0x18
    INLINED = 0x1D
    SUBRANGE = 0x21
    BASE = 0x24
    CONST = 0x26
    ENUMERATOR = 0x28
    FUNCTION = 0x2E
    VARIABLE = 0x34
    VOLATILE = 0x35
    RESTRICT = 0x37
    ATOMIC = 0x47


COMPOSITES = frozenset((int(Tag.STRUCTURE), int(Tag.UNION), int(Tag.CLASS)))
QUALIFIERS = frozenset(
    (int(Tag.CONST), int(Tag.VOLATILE), int(Tag.RESTRICT), int(Tag.ATOMIC))
)

"""XML from outside, with nothing in it that could do harm: no document types and so
no entities, bounded in size and depth."""

import xml.parsers.expat as expat
from xml.etree.ElementTree import Element, TreeBuilder

from lpengine.errors import InputError

# What is read takes many times its text.
LARGEST = 16 << 20
_MOST = 1_000_000
_DEEPEST = 32


class _Unwanted(Exception):
    pass


def parse_xml(raw: bytes, path: str) -> Element:
    """The root element. InputError for what is not XML, or more than XML."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    builder = TreeBuilder()
    depth = count = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth += 1
        count += 1 + len(attributes)
        if count > _MOST:
            raise _Unwanted(f"more than {_MOST} elements and attributes")
        if depth > _DEEPEST:
            raise _Unwanted(f"elements more than {_DEEPEST} deep")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def doctype(*_: object) -> None:
        raise _Unwanted("a document type")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = doctype
    try:
        if len(raw) > LARGEST:
            raise _Unwanted(f"more than {LARGEST} bytes")
        parser.Parse(raw, True)
    except (expat.ExpatError, _Unwanted, ValueError, LookupError) as error:
        raise InputError(f"{path}: not XML as updates have it: {error}") from None
    return builder.close()


def text_of(element: Element | None) -> str:
    """An element's text, without the blanks around it; "" for one with others in
    it."""
    if element is None or len(element):
        return ""
    return (element.text or "").strip()

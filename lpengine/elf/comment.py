"""Who made an object, as it says itself."""

from lpengine.elf.image import Image


def compilers(image: Image) -> tuple[str, ...]:
    """The compilers that an object or a linked image names in .comment."""
    section = image.section(".comment")
    data = image.section_data(section) if section else b""
    texts = (text.decode(errors="replace") for text in data.split(b"\0") if text)
    return tuple(dict.fromkeys(texts))

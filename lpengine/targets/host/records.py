"""What `xe` prints: records of fields, one below the other (xapi, cli_printer.ml).

    uuid ( RO)          : 5a1f...
        name-label ( RW): host1
      other-config (MRW): boot_time: 1700000000.; agent_start_time: 1700000100.

A record begins at the left edge; a value may go on in the next lines.
"""

import re
from collections.abc import Iterator

Record = dict[str, str]

_FIELD = re.compile(
    r"\s*(?P<name>[A-Za-z][\w-]*)"
    r"(?: \([ SM]R[OW]\)(?: \[DEPRECATED\])?)?"
    r"\s*: ?(?P<value>.*)"
)
_TAGGED = re.compile(r"\s*[A-Za-z][\w-]*( \([ SM]R[OW]\)).*:.*")
# What stands for a value that there is not.
_NOTHING = ("<not in database>", "<expensive field>", "OpaqueRef:NULL", "<not set>")


def records(text: str) -> Iterator[Record]:
    """Every record. Where fields show whether they may be written, a line without
    that is more of the value before it, whatever it looks like."""
    tagged = any(_TAGGED.fullmatch(line) for line in text.splitlines())
    found: Record = {}
    name = ""
    for line in text.splitlines():
        field = _FIELD.fullmatch(line)
        if field is None or (tagged and not _TAGGED.fullmatch(line)):
            if name and line.strip():
                found[name] += f"\n{line}"
            continue
        if found and not line[0].isspace():
            yield found
            found = {}
        name = field["name"]
        found[name] = "" if field["value"] in _NOTHING else field["value"]
    if found:
        yield found


def words(value: str) -> tuple[str, ...]:
    """A set: "a; b". Older fields have commas."""
    return tuple(word.strip() for word in re.split(r"[;,]", value) if word.strip())


def pairs(value: str) -> dict[str, str]:
    """A map: "key: value; key: value". A value may have anything in it, so that what
    follows a semicolon and is no pair belongs to the one before."""
    found: dict[str, str] = {}
    last = ""
    for part in value.split("; "):
        key, colon, rest = part.partition(": ")
        if colon or part.endswith(":"):
            last = key.rstrip(":").strip()
            found[last] = rest
        elif last:
            found[last] += f"; {part}"
    return found


def truth(value: str | None) -> bool | None:
    return {"true": True, "false": False}.get(value or "")

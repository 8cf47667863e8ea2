"""docs/json.md describes every JSON document as it is. To write it anew:
`python tests/test_documents.py > docs/json.md`."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lpengine.report import documents

ROOT = Path(__file__).parent.parent

INTRODUCTION = """\
# The JSON documents

Every verb prints one document with `--json`, on standard output; what it says to
people goes to standard error. `schema` names the document and its version. A key
may be added under the same version; one that changes its meaning or goes away makes
a new version. Addresses and build ids are hexadecimal strings, sizes are bytes,
times are UTC in RFC 3339. When a verb cannot do its work it prints
`lpengine/error/1` instead and exits with `exit_code`.
"""


def describe() -> str:
    return "\n".join([INTRODUCTION, *sections()])


def sections() -> Iterator[str]:
    seen: list[type[msgspec.Struct]] = list(documents.DOCUMENTS)
    for struct in seen:
        yield f"## {struct.__name__}\n"
        if struct.__doc__ and not struct.__doc__.startswith(struct.__name__):
            yield " ".join(struct.__doc__.split()) + "\n"
        yield "| key | type |\n|---|---|"
        for field in msgspec.structs.fields(struct):
            yield f"| `{field.name}` | {type_name(field.type, seen)} |"
        yield ""


def type_name(kind: object, seen: list[type[msgspec.Struct]]) -> str:
    for argument in getattr(kind, "__args__", (kind,)):
        is_struct = isinstance(argument, type) and issubclass(argument, msgspec.Struct)
        if is_struct and argument not in seen:
            seen.append(argument)
    text = kind.__name__ if isinstance(kind, type) else str(kind)
    if getattr(kind, "__args__", None):
        text = re.sub(r"lpengine\.report\.\w+\.", "", str(kind))
    return text.replace("|", "or").replace("NoneType", "null").replace("None", "null")


def test_the_documentation_is_current() -> None:
    assert (ROOT / "docs" / "json.md").read_text() == describe()


def test_every_document_has_a_json_schema() -> None:
    found = documents.schemas()
    assert len(found["documents"]) == len(documents.DOCUMENTS)
    assert {"PlanDocument", "FindingRow"} <= set(found["components"])


if __name__ == "__main__":
    print(describe(), end="")

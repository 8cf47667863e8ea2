"""Writes lines and tables: drawn on a terminal, plain aligned text in a pipe."""

import sys
from collections.abc import Iterable, Sequence


def show(lines: Iterable[str]) -> None:
    """Print lines; characters that the output cannot encode become '?'."""
    for line in lines:
        print(encodable(line))


def encodable(text: str) -> str:
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def printable(text: str) -> str:
    """Text that somebody else wrote: nothing in it moves a terminal's cursor."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode()
        for each in text
    )


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; nothing where there are no rows."""
    filled = [[encodable(cell) for cell in each] for each in rows]
    if not filled:
        return
    if sys.stdout.isatty():
        draw(headings, filled)
    else:
        show(aligned([list(headings), *filled]))


def aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Columns two blanks apart, no trailing blanks: stable for grep and diff."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def draw(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    # rich costs 30 ms to import and only a terminal shows what it draws.
    from rich.console import Console
    from rich.table import Table

    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    Console().print(table)

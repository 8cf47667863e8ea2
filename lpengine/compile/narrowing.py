"""Leaves out objects that include a changed header and do not use what changed."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from lpengine.compile.kbuild import Entry
from lpengine.compile.preprocessed import matters

# Preprocessed sources are a megabyte or two each, and are removed batch by batch.
_BATCH = 32

Preprocess = Callable[[Path, Sequence[str]], None]


def using(
    base: Path, work: Path, entries: Sequence[Entry], preprocess: Preprocess
) -> tuple[Entry, ...]:
    """Those objects that may differ between two copies of a tree. `preprocess` makes
    goals such as "fs/open.i" in a copy, or fails to: what is not made may differ."""
    kept: list[Entry] = []
    waiting = iter(entries)
    while batch := list(islice(waiting, _BATCH)):
        goals = sorted({_goal(each) for each in batch if _is_c(base, each)})
        for copy in (base, work):
            preprocess(copy, goals)
        same = {goal for goal in goals if _is_same(base / goal, work / goal)}
        kept += [each for each in batch if _goal(each) not in same]
        for made in _made(base, work, goals):
            made.unlink(missing_ok=True)
    return tuple(kept)


def _is_c(base: Path, entry: Entry) -> bool:
    """Of assembly there is no preprocessed form to be had."""
    return (base / entry.path).with_suffix(".c").is_file()


def _goal(entry: Entry) -> str:
    return entry.target.removesuffix(".o") + ".i"


def _is_same(before: Path, after: Path) -> bool:
    made = before.is_file() and after.is_file()
    return made and not matters(before.read_bytes(), after.read_bytes())


def _made(base: Path, work: Path, goals: Sequence[str]) -> Iterator[Path]:
    yield from (copy / goal for copy in (base, work) for goal in goals)

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
    goals such as "fs/open.i" in a copy."""
    kept: list[Entry] = []
    waiting = iter(entries)
    while batch := list(islice(waiting, _BATCH)):
        sources = [each for each in batch if (base / _source(each)).is_file()]
        plain = {each: _goal(each) for each in sources}
        goals = sorted(set(plain.values()))
        for copy in (base, work):
            preprocess(copy, goals)
        changed = {goal for goal in goals if _differ(base / goal, work / goal)}
        kept += [each for each in batch if each not in plain or plain[each] in changed]
        for each in _made(base, work, goals):
            each.unlink()
    return tuple(kept)


def _source(entry: Entry) -> str:
    """Of assembly there is no preprocessed form to be had."""
    return entry.path.removesuffix(".o") + ".c"


def _goal(entry: Entry) -> str:
    return entry.target.removesuffix(".o") + ".i"


def _differ(before: Path, after: Path) -> bool:
    return matters(before.read_bytes(), after.read_bytes())


def _made(base: Path, work: Path, goals: Sequence[str]) -> Iterator[Path]:
    yield from (copy / goal for copy in (base, work) for goal in goals)

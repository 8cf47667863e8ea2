"""Progress on standard error while a source tree is built."""

import sys
import time

from lpengine.compile.events import (
    BaseBegun,
    BaseReady,
    Comparing,
    Event,
    FixBegun,
    FixBuilt,
    ObjectBuilt,
    Proving,
)

# How often a line that counts is drawn anew, in seconds.
_INTERVAL = 0.2
_WIDTH = 79


class BuildProgress:
    """A line an event, and one that counts objects while they are built; on a
    terminal only, so that pipes and logs stay quiet."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._drawn = 0.0
        self._counting = False

    def __call__(self, event: Event) -> None:
        if not sys.stderr.isatty():
            return
        if isinstance(event, ObjectBuilt):
            self._count(event)
            return
        self._end_count()
        print(progress_text(event), file=sys.stderr)
        self._begun = time.monotonic()

    def _count(self, event: ObjectBuilt) -> None:
        now = time.monotonic()
        if now - self._drawn < _INTERVAL:
            return
        self._drawn, self._counting = now, True
        text = f"  {now - self._begun:4.0f} s  {event.count:4} objects  {event.name}"
        print(f"\r{text[:_WIDTH]:{_WIDTH}}", end="", file=sys.stderr, flush=True)

    def _end_count(self) -> None:
        if self._counting:
            print(f"\r{'':{_WIDTH}}\r", end="", file=sys.stderr)
        self._counting = False


def progress_text(event: Event) -> str:
    match event:
        case BaseBegun(tree, compiler):
            return (
                f"building {tree} as it is, with {compiler}: the first time takes "
                "minutes"
            )
        case ObjectBuilt(name):
            return f"  {name}"
        case BaseReady(seconds, cached):
            return "base: cached" if cached else f"base: built in {seconds:.0f} s"
        case FixBegun(files):
            return f"building with the fix: {len(files)} files changed"
        case FixBuilt(objects, seconds):
            return f"  {objects} objects differ, {seconds:.1f} s"
        case Proving(objects):
            return f"proving {objects} objects against the image"
        case Comparing(objects):
            return f"comparing {objects} objects"

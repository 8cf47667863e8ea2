"""Python's garbage collector, kept out of the way of large decisions."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """While many values are made of which none is garbage. The collector would look
    through all of them again and again: for thousands of hosts that takes longer than
    anything else."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

"""What a builder hands over."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Built:
    """A patch module that was built. `functions` are the redirected ones by the
    target's names; `notes` are what its author should know, a sentence each."""

    payload: bytes
    name: str
    build_id: str
    functions: tuple[str, ...]
    notes: tuple[str, ...]

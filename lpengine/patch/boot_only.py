"""Functions that run only while the machine boots.

One that is only called from init code, or only as a processor comes up, has done its
work: replacing it changes nothing until the next boot.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field

from lpengine.diff import codes
from lpengine.diff.changes import Changes, FunctionChange, Refusal, Status
from lpengine.patch.proof import Proof

_SHOWN = 4


@dataclass
class CallGraph:
    """By addresses of functions: `calls` leads from one to those that it calls.
    `live` are those that something else leads to: a table of handlers, code that
    hands out their address. `boot` is what runs while the machine comes up, `resume`
    what brings it up again; `bring_up` are those that tables for new processors lead
    to."""

    calls: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    live: set[int] = field(default_factory=set)
    boot: set[int] = field(default_factory=set)
    resume: set[int] = field(default_factory=set)
    bring_up: set[int] = field(default_factory=set)

    def boot_only(self) -> Mapping[int, tuple[int, ...]]:
        """What ran while the machine booted, and does not run again: each with the
        way that led to it, itself last. What nothing leads to at all is not among
        them: it may be called in a way unseen here."""
        running = self._reached(self.live, self.boot | self.resume)
        booted = self._reached(self.boot | self.bring_up, frozenset())
        return {each: way for each, way in booted.items() if each not in running}

    def _reached(
        self, start: Set[int], without: Set[int]
    ) -> dict[int, tuple[int, ...]]:
        found: dict[int, tuple[int, ...]] = {}
        waiting: list[tuple[int, ...]] = [(each,) for each in sorted(start - without)]
        for way in waiting:  # grows while it is walked
            function = way[-1]
            if function not in found:
                found[function] = way
                called = sorted(self.calls.get(function, set()) - without)
                waiting += [(*way, each) for each in called]
        return found


def refusals(
    graph: CallGraph,
    changes: Changes,
    proofs: Mapping[str, Proof],
    name_at: Callable[[int], str],
    is_init_at: Callable[[int], bool],
) -> Iterator[Refusal]:
    """Of changed functions that have done their work and do not run again; init code
    itself is refused for what it is."""
    ways = graph.boot_only()
    for each in changes.changed:
        for function in each.functions:
            address = _address(function, proofs.get(each.name))
            if address is None or address not in ways:
                continue
            if not is_init_at(address):
                yield Refusal(
                    codes.BOOT_ONLY,
                    "bring-up-only",
                    function.name,
                    _shown([name_at(step) for step in ways[address]]),
                    "boot the machine, or repeat the effect in a load hook",
                    each.name,
                    liftable=True,
                )


def _address(function: FunctionChange, proof: Proof | None) -> int | None:
    original = function.original
    if function.status is not Status.CHANGED or original is None or proof is None:
        return None
    return proof.locate(original.section, original.offset, original.symbol_index)


def _shown(names: list[str]) -> str:
    if len(names) > _SHOWN:
        names[1 : 1 - _SHOWN] = ["…"]
    if len(names) == 1:
        return "it only runs as a processor comes up"
    return f"it only runs while the machine comes up: {' calls '.join(names)}"

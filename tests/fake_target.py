"""A durable target with Xen's stack rules (common/livepatch.c, livepatch_action) and
no code behind them, for tests of what drives targets. Its state is one JSON file,
replaced atomically, so that a killed process leaves the old or the new state."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from lpengine.errors import NotFoundError, TargetError
from lpengine.patch.model import Patch, PatchSection
from lpengine.planner.facts import (
    Capabilities,
    Facts,
    ImageFacts,
    LoadedPatch,
    PatchState,
    Span,
)

IMAGE_ID = "00" * 20

State = dict[str, Any]


def make_patch(
    name: str, depends: str = IMAGE_ID, *, data: bool = False, text: str = ""
) -> Patch:
    """A patch whose module is JSON. `data`: it has a .data section of its own."""
    content = {"name": name, "depends": depends, "data": data, "text": text}
    build_id = hashlib.sha1(json.dumps(content).encode()).hexdigest()
    return parse(name, json.dumps({**content, "build_id": build_id}).encode())


def parse(name: str, raw: bytes) -> Patch:
    content = json.loads(raw)
    data = PatchSection(1, ".data", 8, 8, True, False, False)
    return Patch(
        name,
        raw,
        hashlib.sha256(raw).hexdigest(),
        build_id=content["build_id"],
        depends=content["depends"],
        image_build_id=IMAGE_ID,
        sections=(data,) if content["data"] else (),
    )


class FakeTarget:
    """`trouble` maps the number of an acting call (from 0, failed ones count) to
    what happens instead of it: it raises, kills, or returns for nothing done."""

    def __init__(
        self, directory: Path, trouble: Mapping[int, Callable[[], None]] | None = None
    ) -> None:
        self.name = f"fake:{directory}"
        self.state_directory = directory
        self.path = directory / "target.json"
        self.trouble = trouble or {}
        self.calls = 0

    # The Target protocol

    def facts(self, patches: Sequence[Patch] = ()) -> Facts:
        state = self.read()
        area = Span(0, 1 << 30)
        return Facts(
            self.name,
            ImageFacts(state["image"], "4.17.7", area, (), area, 1 << 30),
            Capabilities(),
            tuple(self.observed(name, state) for name in state["modules"]),
            tuple(state["applied"]),
        )

    def load(self, patch: Patch) -> None:
        with_id = parse(patch.name, patch.raw)

        def change(state: State) -> None:
            ids = {parse(n, bytes.fromhex(m)).build_id for n, m in modules(state)}
            refuse_if(patch.name in state["modules"], "name-in-use", "EEXIST")
            refuse_if(with_id.build_id in ids, "build-id-in-use", "EEXIST")
            state["modules"][patch.name] = patch.raw.hex()

        self.attempt(change)

    def apply(
        self,
        name: str,
        timeout: timedelta,
        *,
        nodeps: bool = False,
        force: bool = False,
    ) -> None:
        def change(state: State) -> None:
            patch = self.loaded(name, state)
            refuse_if(name in state["applied"], "wrong-state")
            spent = name in state["reverted"] and not patch.safe_to_reapply
            refuse_if(spent, "reapply-with-data")
            below = state["applied"][-1] if state["applied"] else ""
            under = self.loaded(below, state).build_id if below else state["image"]
            refuse_if(not nodeps and patch.depends != under, "depends-mismatch")
            state["applied"].append(name)

        self.attempt(change)

    def revert(self, name: str, timeout: timedelta, *, force: bool = False) -> None:
        def change(state: State) -> None:
            self.loaded(name, state)
            refuse_if(name not in state["applied"], "wrong-state")
            refuse_if(state["applied"][-1] != name, "not-top", "EBUSY")
            state["reverted"].append(state["applied"].pop())

        self.attempt(change)

    def replace(self, name: str, timeout: timedelta, *, force: bool = False) -> None:
        def change(state: State) -> None:
            patch = self.loaded(name, state)
            refuse_if(name in state["applied"], "wrong-state")
            refuse_if(patch.depends != state["image"], "depends-mismatch")
            state["reverted"] += state["applied"]
            state["applied"] = [name]

        self.attempt(change)

    def unload(self, name: str) -> None:
        def change(state: State) -> None:
            self.loaded(name, state)
            refuse_if(name in state["applied"], "unload-applied")
            del state["modules"][name]
            state["reverted"] = [each for each in state["reverted"] if each != name]

        self.attempt(change)

    def module(self, name: str) -> Patch:
        return self.loaded(name, self.read())

    # What is behind it

    def attempt(self, change: Callable[[State], None]) -> None:
        number = self.calls
        self.calls += 1
        if number in self.trouble:
            return self.trouble[number]()
        state = self.read()
        change(state)
        self.write(state)
        return None

    def loaded(self, name: str, state: State) -> Patch:
        if name not in state["modules"]:
            raise NotFoundError(f"no patch {name}")
        return parse(name, bytes.fromhex(state["modules"][name]))

    def observed(self, name: str, state: State) -> LoadedPatch:
        patch = self.loaded(name, state)
        applied = name in state["applied"]
        return LoadedPatch(
            name,
            patch.build_id,
            patch.depends,
            PatchState.APPLIED if applied else PatchState.CHECKED,
            patch.sha256,
            name in state["reverted"],
            patch.safe_to_reapply,
        )

    def read(self) -> State:
        if not self.path.exists():
            return {"image": IMAGE_ID, "modules": {}, "applied": [], "reverted": []}
        state: State = json.loads(self.path.read_text())
        return state

    def write(self, state: State) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(state))
        fresh.replace(self.path)


def modules(state: State) -> list[tuple[str, str]]:
    return list(state["modules"].items())


def refuse_if(condition: bool, cause: str, errno: str = "EINVAL") -> None:
    if condition:
        raise TargetError(f"refused: {cause}", cause=cause, errno=errno)

"""A machine that the engine itself patches, as a target."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

from lpengine.loader import Loaded, Loader, Names
from lpengine.loader.quiesce import backtrace
from lpengine.loader.relocate import SUPPORTED
from lpengine.loader.stack import read_pristine
from lpengine.machine.base import Machine
from lpengine.patch.model import FunctionPatch, HookKind, Patch
from lpengine.patch.xen.layout import ALTERNATIVE_FEATURES as FEATURES
from lpengine.planner.facts import (
    BusyFact,
    Capabilities,
    CodeFact,
    Facts,
    ImageFacts,
    LoadedPatch,
    Span,
    SymbolFact,
)
from lpengine.targets.base import require_no_force

_CAPABILITIES = Capabilities(
    careful=True,
    consistency="set",
    relocations=tuple(int(kind) for kind in SUPPORTED),
    features=FEATURES,
)
_CODE_MAX = 64 << 10
# A patch with one of these is applied or reverted by code of its own.
_OWN_ACTIONS = (HookKind.APPLY, HookKind.REVERT)


class MachineTarget:
    """The loader over one machine. `state_directory` is where journal and lock
    go."""

    def __init__(self, machine: Machine, name: str, state_directory: Path) -> None:
        self.machine = machine
        self.loader = Loader(machine)
        self._name = name
        self._state_directory = state_directory

    @property
    def name(self) -> str:
        return self._name

    @property
    def state_directory(self) -> Path:
        return self._state_directory

    def facts(self, patches: Sequence[Patch] = ()) -> Facts:
        """What is so now; looking changes nothing."""
        names = self.loader.names
        wanted = sorted({name for patch in patches for name in patch.wanted_symbols})
        records = [function for patch in patches for function in patch.functions]
        return Facts(
            target=self.name,
            image=self._image_facts(names),
            capabilities=_CAPABILITIES,
            loaded=tuple(self._loaded_fact(loaded) for loaded in self.loader.patches),
            applied=self.loader.applied,
            symbols={name: found for name in wanted if (found := _find(names, name))},
            code=self._code(names, records),
            busy=tuple(
                BusyFact(
                    cpu.name,
                    names.describe(cpu.instruction_pointer),
                    cpu.instruction_pointer,
                    backtrace(cpu, names),
                )
                for cpu in self.machine.stopped()
            ),
        )

    def load(self, patch: Patch) -> None:
        self.loader.load(patch)

    def apply(
        self,
        name: str,
        timeout: timedelta,
        *,
        nodeps: bool = False,
        force: bool = False,
    ) -> None:
        require_no_force(name, force)
        self.loader.apply(name, timeout, nodeps=nodeps)

    def revert(self, name: str, timeout: timedelta, *, force: bool = False) -> None:
        require_no_force(name, force)
        self.loader.revert(name, timeout)

    def replace(self, name: str, timeout: timedelta, *, force: bool = False) -> None:
        require_no_force(name, force)
        self.loader.replace(name, timeout)

    def unload(self, name: str) -> None:
        self.loader.unload(name)

    def module(self, name: str) -> Patch:
        return self.loader.module(name)

    def _image_facts(self, names: Names) -> ImageFacts:
        start, end, free = self.machine.patch_area
        return ImageFacts(
            build_id=self.machine.image.image.build_id,
            version=self.machine.version,
            text=names.text,
            init=names.init_spans,
            patch_area=Span(start, end),
            patch_area_free=free,
        )

    def _loaded_fact(self, loaded: Loaded) -> LoadedPatch:
        module = self.loader.module(loaded.name)
        return LoadedPatch(
            name=loaded.name,
            build_id=loaded.build_id,
            depends=loaded.depends,
            state=loaded.state,
            sha256=module.sha256,
            reverted=loaded.reverted,
            safe_to_reapply=module.safe_to_reapply,
            vetoing_hooks=any(hook.kind.vetoing for hook in loaded.hooks),
            irreversible=any(hook.kind in _OWN_ACTIONS for hook in loaded.hooks),
            functions=tuple(function.span for function in loaded.functions),
            symbols=tuple(symbol.name for symbol in loaded.symbols if symbol.new),
            uses=module.undefined,
            metadata=module.metadata,
            code=loaded.text,
        )

    def _code(
        self, names: Names, records: Iterable[FunctionPatch]
    ) -> dict[int, CodeFact]:
        code = {}
        for record in records:
            place = names.find(record.wanted)
            address = place.address if place else record.old_address
            if address and address not in code:
                fact = self._code_fact(names, address)
                if fact is not None:
                    code[address] = fact
        return code

    def _code_fact(self, names: Names, address: int) -> CodeFact | None:
        """None where nothing of the image or of a loaded patch is."""
        found = names.at(address)
        if found is None:
            return None
        place, _ = found
        end = names.end_of(place.address)
        if end is None or address >= end:
            return None
        size = min(end - place.address, _CODE_MAX)
        redirecting = [
            patch.name
            for patch in self.loader.stack.applied_patches
            if any(function.old_address == address for function in patch.functions)
        ]
        return CodeFact(
            address=place.address,
            symbol=place.name,
            size=place.size,
            live=self.machine.read(place.address, size),
            shipped=self._shipped(place.address, size, place.owner),
            redirected_by=tuple(redirecting),
        )

    def _shipped(self, address: int, size: int, owner: str) -> bytes:
        """The image file's bytes. Code of a loaded patch is in no image: what is
        shipped of it is what the loader made of it."""
        if owner:
            return read_pristine(self.machine, self.loader.stack, address, size)
        mapped = self.machine.image
        return bytes(mapped.image.read(address - mapped.bias, size))


def _find(names: Names, name: str) -> tuple[SymbolFact, ...]:
    return tuple(
        SymbolFact(
            name=name,
            address=place.address,
            size=place.size,
            is_function=place.is_function,
            init=names.is_init(place.address),
            owner=place.owner,
        )
        for place in names.all(name)
    )

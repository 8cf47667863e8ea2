"""What is so on the running Xen: its own list, what was remembered, and the image."""

import errno
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

from lpengine.core.hypercall import Listed
from lpengine.errors import InputError, NotFoundError
from lpengine.patch.model import Patch
from lpengine.patch.xen.layout import ALTERNATIVE_FEATURES as FEATURES
from lpengine.planner.facts import (
    Capabilities,
    Facts,
    ImageFacts,
    LoadedPatch,
    PatchState,
    Span,
)
from lpengine.planner.situation import has_action_hooks
from lpengine.targets.xen_answers import name_of
from lpengine.targets.xen_image import PATCH_AREA_END, RunningImage, missing_symbols
from lpengine.targets.xen_store import Memory, Store

CAPABILITIES = Capabilities(consistency="stackless", features=FEATURES)
_NOWHERE = Span(0, 0)


class Observer:
    """Makes facts. `build_id` and what follows tell of the running image, and are
    asked once, when first needed."""

    def __init__(
        self,
        name: str,
        boot: str,
        store: Store,
        *,
        build_id: Callable[[], str],
        version: Callable[[], str],
        compiled: Callable[[], str],
        cpus: Callable[[], int],
        find_image: Callable[[str], RunningImage | None],
    ) -> None:
        self._name = name
        self._boot = boot
        self._store = store
        self._find_build_id = build_id
        self._find_version = version
        self._find_compiled = compiled
        self._find_cpus = cpus
        self._find_image = find_image

    @cached_property
    def build_id(self) -> str:
        return self._find_build_id()

    @cached_property
    def image(self) -> RunningImage | None:
        return self._find_image(self.build_id)

    @cached_property
    def compiled(self) -> str:
        return self._find_compiled()

    @cached_property
    def cpus(self) -> int:
        return self._find_cpus()

    def nothing(self, error: OSError) -> Facts:
        """Where the hypervisor does not answer."""
        denied = error.errno in (errno.EPERM, errno.EACCES)
        wrong = error.errno == errno.EACCES and not error.filename
        capabilities = replace(
            CAPABILITIES,
            live_patching=denied,
            interface_known=not wrong,
            privileged=wrong or not denied,
        )
        image = ImageFacts(
            self._find_build_id(), "", _NOWHERE, (), _NOWHERE, 0, boot=self._boot
        )
        return Facts(self._name, image, capabilities)

    def agreed(self, memory: Memory, listed: Sequence[Listed], store: Store) -> Memory:
        """Memory without what Xen's list contradicts: a payload that is gone, or
        that another program has put in the place of ours."""
        known = {
            one.name: memory.modules[one.name]
            for one in listed
            if one.name in memory.modules
            and self._is_ours(one, memory.modules[one.name], store)
        }
        on = [one.name for one in listed if one.applied]
        order = [name for name in memory.applied if name in on]
        applied = (*order, *(name for name in on if name not in order))
        gone = set(memory.applied) - set(on)
        names = {one.name for one in listed}
        reverted = ({*memory.reverted, *gone}) & names
        return replace(
            memory,
            modules=known,
            applied=applied,
            reverted=tuple(sorted(reverted)),
            version=memory.version or ("" if on else self._find_version()),
        )

    def facts(
        self, listed: Sequence[Listed], memory: Memory, patches: Sequence[Patch]
    ) -> Facts:
        kept = self._kept(memory)
        loaded = tuple(self._loaded(one, kept.get(one.name), memory) for one in listed)
        facts = Facts(
            target=self._name,
            image=self._image_facts(memory.version or self._find_version()),
            capabilities=CAPABILITIES,
            loaded=loaded,
            applied=memory.applied,
            in_progress=next(
                (one.name for one in listed if one.result == errno.EAGAIN), ""
            ),
        )
        if self.image is None:
            return facts
        wanted = {name for patch in patches for name in patch.wanted_symbols}
        applied = [kept[name] for name in memory.applied if name in kept]
        return replace(
            facts,
            symbols=self.image.symbols(sorted(wanted), kept.values()),
            code=self.image.code(patches, applied),
        )

    def _is_ours(self, one: Listed, sha256: str, store: Store) -> bool:
        try:
            module = store.module(one.name, sha256)
        except (NotFoundError, InputError):
            return False
        return module.metadata == pairs(one.metadata)

    def _kept(self, memory: Memory) -> dict[str, Patch]:
        return {
            name: self._store.module(name, sha256)
            for name, sha256 in memory.modules.items()
        }

    def _loaded(self, one: Listed, module: Patch | None, memory: Memory) -> LoadedPatch:
        loaded = LoadedPatch(
            name=one.name,
            build_id="",
            depends="",
            state=PatchState.APPLIED if one.applied else PatchState.CHECKED,
            reverted=one.name in memory.reverted,
            status=name_of(one.result) if one.result else "",
            metadata=pairs(one.metadata),
        )
        if module is None:
            return loaded
        spans = (
            self.image.span_of(function) if self.image else None
            for function in module.functions
        )
        return replace(
            loaded,
            build_id=module.build_id,
            depends=module.depends,
            sha256=module.sha256,
            safe_to_reapply=module.safe_to_reapply,
            vetoing_hooks=module.has_vetoing_hooks,
            irreversible=has_action_hooks(module),
            functions=tuple(span for span in spans if span),
            symbols=tuple(symbol.name for symbol in module.new_symbols),
            uses=module.undefined,
        )

    def _image_facts(self, version: str) -> ImageFacts:
        seen = self._seen_facts(version)
        return replace(seen, compiled=self.compiled, cpus=self.cpus)

    def _seen_facts(self, version: str) -> ImageFacts:
        if self.image is not None:
            return self.image.facts(self.build_id, version, self._boot)
        area = Span(0, 0)
        return ImageFacts(
            self.build_id,
            version,
            _NOWHERE,
            (),
            area,
            PATCH_AREA_END,
            boot=self._boot,
            unseen=missing_symbols(self.build_id, version),
        )


def pairs(metadata: bytes) -> tuple[tuple[str, str], ...]:
    """The key=value strings of .modinfo."""
    texts = metadata.decode("utf-8", "backslashreplace").split("\0")
    split = (text.partition("=") for text in texts if text)
    return tuple((key, value) for key, _, value in split)

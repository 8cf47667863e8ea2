"""What becomes of a source fix for Xen: proved, judged and made into a payload."""

from collections.abc import Mapping, Sequence

from lpengine.compile.source import SourceBuild
from lpengine.compile.tree import Settings
from lpengine.diff.changes import Changes, Refusal
from lpengine.elf import Image, open_image
from lpengine.elf.comment import compilers
from lpengine.errors import BuildError
from lpengine.patch.boot_only import refusals
from lpengine.patch.built import Built
from lpengine.patch.proof import LinkedFile, Proof, prove
from lpengine.patch.source import SourceOptions
from lpengine.patch.unproved import NotProvedError, likely_cause
from lpengine.patch.xen.build_changes import Bound, build_changes
from lpengine.patch.xen.build_image import TargetImage
from lpengine.patch.xen.callers import call_graph


class XenMaker:
    """Payloads for one image; see lpengine.patch.source.Maker."""

    def __init__(self, image: Image, options: SourceOptions) -> None:
        self._image = image
        self._options = options
        self._target = TargetImage(image)

    def configuration(self) -> tuple[bytes, str]:
        text = self._target.configuration
        return text, f"{self._image.path}'s own" if text else ""

    def prove(self, source: SourceBuild, settings: Settings) -> Mapping[str, Proof]:
        running = LinkedFile(self._image)
        proofs = {
            name: prove(name, open_image(path), running)
            for name, path in source.objects.items()
        }
        linked = [proof for proof in proofs.values() if proof.is_linked]
        differences = [each for proof in linked for each in proof.disproved]
        if differences or not any(proof.functions for proof in linked):
            raise NotProvedError(
                self._image.path,
                differences,
                likely_cause(
                    differences,
                    len(linked),
                    image_compilers=compilers(self._image),
                    our_compilers=(settings.toolchain.signature,),
                    configuration=settings.origin,
                    other_configuration=self._settings_unlike(settings.configuration),
                ),
            )
        return proofs

    def judge(
        self, source: SourceBuild, changes: Changes, proofs: Mapping[str, Proof]
    ) -> Sequence[Refusal]:
        graph = call_graph(tuple(proofs.values()))
        target = self._target
        return tuple(
            refusals(graph, changes, proofs, target.name_at, target.is_init_at)
        )

    def make(
        self,
        changes: Changes,
        proofs: Mapping[str, Proof],
        modinfo: Sequence[tuple[str, str]],
    ) -> Built:
        bound = [Bound(each, proofs.get(each.name)) for each in changes.changed]
        built = build_changes(
            bound,
            self._image,
            name=self._options.name,
            depends=self._options.depends,
            modinfo=modinfo,
        )
        self._require_cumulative(built)
        return built

    def _settings_unlike(self, text: bytes) -> Sequence[str]:
        """The image's own settings that are others than those of a configuration."""
        ours, theirs = _settings(text), _settings(self._target.configuration)
        names = sorted(ours.keys() | theirs.keys()) if ours and theirs else ()
        return [
            f"{name}={theirs.get(name, 'n')}"
            for name in names
            if ours.get(name) != theirs.get(name)
        ]

    def _require_cumulative(self, built: Built) -> None:
        """What takes the place of others must bring all that they bring."""
        for patch in self._options.replaces:
            missing = sorted(
                {each.name for each in patch.functions} - set(built.functions)
            )
            if missing:
                raise BuildError(
                    f"{patch.name} patches {', '.join(missing)}, and this payload "
                    "would take its place without them",
                    codes=("LP-DEP-517",),
                    hint="give the patches of all fixes that it is to replace",
                )


def _settings(text: bytes) -> dict[str, str]:
    lines = text.decode(errors="replace").splitlines()
    pairs = (line.partition("=") for line in lines if line.startswith("CONFIG_"))
    return {name: value for name, _, value in pairs}

"""From a source fix to a module, or to the reasons why not: what is the same for
every kind of tree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from lpengine.compile.events import Comparing, Notify, Proving, unheard
from lpengine.compile.fix import Fix, described
from lpengine.compile.source import SourceBuild, built
from lpengine.compile.tree import ObjectPair, Settings, Tree
from lpengine.diff import codes
from lpengine.diff.changes import Changes, Refusal, Verdict
from lpengine.diff.declared import require_hooks
from lpengine.diff.differ import Options
from lpengine.diff.sets import NamedPair, diff_pairs
from lpengine.elf import Image, ObjectWriter, open_image, parse_image
from lpengine.patch.built import Built
from lpengine.patch.model import Patch
from lpengine.patch.proof import Proof


@dataclass(frozen=True)
class SourceOptions:
    """What a module is to be, besides the fix: `depends` is the build id of the
    module below it in the stack, `replaces` are the modules whose place it takes.
    `hooks` are what its author declares: the subject of a refusal, and the hook that
    makes up for it."""

    name: str = ""
    modinfo: Sequence[tuple[str, str]] = ()
    depends: str = ""
    replaces: Sequence[Patch] = ()
    hooks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceResult:
    """What became of a fix.

    `verdict` is CHANGED with a module, REFUSED with `refusals`, or UNCHANGED where
    the fix changes no code that the image has: it is not affected. `objects` were
    built differently, of which `absent` are not in the image; `proved` is how many
    functions were found in the image as they were built. `strangers` are files of the
    fix that the image is not built from.
    """

    verdict: Verdict
    changes: Changes
    built: Built | None
    refusals: tuple[Refusal, ...]
    objects: tuple[str, ...]
    absent: tuple[str, ...]
    proved: int
    configuration: str
    strangers: tuple[str, ...]
    notes: tuple[str, ...]


class Maker(Protocol):
    """What differs between formats: the image, and what becomes of changes."""

    def configuration(self) -> tuple[bytes, str]:
        """The configuration that the image itself holds, and where it is from; empty
        where it does not say."""

    def prove(self, source: SourceBuild, settings: Settings) -> Mapping[str, Proof]:
        """Hold the base's objects against the image; at least those of the pairs.
        Raises NotProvedError where it was linked from something else."""

    def judge(
        self, source: SourceBuild, changes: Changes, proofs: Mapping[str, Proof]
    ) -> Sequence[Refusal]:
        """What only the whole image tells against a fix."""

    def make(
        self,
        changes: Changes,
        proofs: Mapping[str, Proof],
        modinfo: Sequence[tuple[str, str]],
    ) -> Built:
        """The module. BuildError where it cannot be made."""


def build_source(
    tree: Tree,
    fixes: Sequence[Fix],
    maker: Maker,
    settings: Settings,
    options: SourceOptions,
    notify: Notify = unheard,
) -> SourceResult:
    """Build the tree with and without the fixes, and a module of the difference.

    Without a configuration in the settings the image's own is used, else the tree's.
    Raises what `built` does, NotProvedError for a tree that the image was not built
    from, BuildError for what changed but cannot be put into a module.
    """
    if not settings.configuration:
        text, origin = maker.configuration()
        settings = replace(settings, configuration=text, origin=origin)
    with built(tree, fixes, settings, notify) as source:
        notify(Proving(len(source.objects)))
        proofs = maker.prove(source, settings)
        pairs = [each for each in source.pairs if _is_in_image(each, proofs)]
        notify(Comparing(len(pairs)))
        changes = _compare(pairs, proofs, options)
        require_hooks(changes, options.hooks)
        judged = maker.judge(source, changes, proofs)
        refusals = (
            *changes.all_refusals,
            *(each for each in judged if not _is_lifted(each, options)),
        )
        module = None
        verdict = Verdict.REFUSED if refusals else changes.verdict
        if verdict is Verdict.CHANGED and not _acts(changes):
            verdict = Verdict.UNCHANGED
        if verdict is Verdict.CHANGED:
            made_by = ("compiler", settings.toolchain.signature)
            modinfo = (*described(fixes), made_by, *options.modinfo)
            module = maker.make(changes, proofs, modinfo)
    return SourceResult(
        verdict=verdict,
        changes=changes,
        built=module,
        refusals=refusals,
        objects=tuple(each.name for each in source.pairs),
        absent=tuple(each.name for each in source.pairs if each not in pairs),
        proved=sum(len(each.functions) for each in proofs.values()),
        configuration=source.configuration,
        strangers=source.applied.strangers,
        notes=source.notes,
    )


def _compare(
    pairs: Sequence[ObjectPair], proofs: Mapping[str, Proof], options: SourceOptions
) -> Changes:
    opened = (
        NamedPair(
            *(each.name, _opened(each.original), _opened(each.patched)),
            proofs[each.name].overridden if each.name in proofs else frozenset(),
        )
        for each in pairs
    )
    rebuilt = {each.name for each in pairs}
    others = [proof.object for name, proof in proofs.items() if name not in rebuilt]
    changes = diff_pairs(opened, Options(hooks=options.hooks), others)
    # Whether a short function has padding behind it, the image tells.
    return changes.without(codes.TOO_SHORT)


def _acts(changes: Changes) -> bool:
    """Whether anything would run: what is new alone is reached by nobody."""
    return any(each.changed_functions or each.hooks for each in changes.changed)


def _opened(path: Path | None) -> Image:
    """Of an object that comes or goes the other side is an empty one."""
    if path is None:
        return parse_image(ObjectWriter().finish(), "<no object>")
    return open_image(path)


def _is_lifted(refusal: Refusal, options: SourceOptions) -> bool:
    return refusal.liftable and refusal.subject in options.hooks


def _is_in_image(pair: ObjectPair, proofs: Mapping[str, Proof]) -> bool:
    """A new object is, for all one knows; of the others, those that were linked."""
    proof = proofs.get(pair.name)
    return proof.is_linked if proof is not None else pair.original is None

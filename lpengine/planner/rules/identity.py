"""Was the patch made for what is running, and for what lies below it?"""

from collections.abc import Iterator

from lpengine.patch.model import Patch
from lpengine.planner.facts import LoadedPatch
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import block, warn
from lpengine.planner.situation import Situation


def made_for_image(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Xen: xen_build_id_dep."""
    image = situation.facts.image.build_id
    if not image:
        yield block(
            "no-xen-build-id",
            patch.name,
            "image",
            observed="the running image has no build id",
            needed=f"build id {patch.image_build_id}",
        )
    elif patch.image_build_id and patch.image_build_id != image:
        yield block(
            "xen-build-id-mismatch",
            patch.name,
            ".livepatch.xen_depends",
            observed=f"the running image is {image}",
            needed=patch.image_build_id,
            remedy=f"get the patch that was built for image {image}",
            image=image,
            patch_for=patch.image_build_id,
        )


def fits_on_stack(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Xen: build_id_dep; the patch below, or the image for the first one."""
    if not situation.facts.capabilities.stacking or not patch.depends:
        return
    top = situation.top
    below = top.build_id if top else situation.facts.image.build_id
    if patch.depends == below or not below:
        return
    fits = warn if situation.policy.nodeps else block
    yield fits(
        "depends-mismatch",
        patch.name,
        ".livepatch.depends",
        observed=f"on top is {top.name if top else 'the bare image'} ({below})",
        needed=patch.depends,
        remedy="nothing: dependencies are not checked, as asked"
        if situation.policy.nodeps
        else way_to(patch, situation),
        top=top.name if top else "image",
        top_build_id=below,
        depends=patch.depends,
        stack=list(situation.applied),
    )


def way_to(patch: Patch, situation: Situation) -> str:
    """How to get the patch it depends on to the top."""
    if patch.depends == situation.facts.image.build_id:
        return (
            f"it is made for the bare image: replace the stack with {patch.name} if "
            "it contains all fixes, or revert "
            f"{', '.join(reversed(situation.applied))} first"
        )
    wanted = owner_of(patch.depends, situation)
    if wanted is None:
        return (
            f"apply the patch with build id {patch.depends} first, or get a "
            "cumulative patch and replace"
        )
    if wanted.name not in situation.applied:
        return f"apply {wanted.name} first: it is loaded and has that build id"
    above = situation.applied[situation.applied.index(wanted.name) + 1 :]
    return f"revert {', '.join(reversed(above))} first: {wanted.name} lies below"


def owner_of(build_id: str, situation: Situation) -> LoadedPatch | None:
    return next((one for one in situation.loaded if one.build_id == build_id), None)


def fits_on_image(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """For a replace, which asks the image whatever is applied."""
    image = situation.facts.image.build_id
    if image and patch.depends and patch.depends != image:
        yield block(
            "depends-mismatch",
            patch.name,
            ".livepatch.depends",
            observed=f"a replace goes onto the image {image}",
            needed=patch.depends,
            remedy="replace needs a cumulative patch that depends on the image; "
            f"apply {patch.name} on top of the patch it depends on instead",
            top="image",
            top_build_id=image,
            depends=patch.depends,
        )

"""Names, ids and sizes: may this module come in beside what is loaded?"""

from collections.abc import Iterator

from lpengine.patch.model import Patch
from lpengine.planner.facts import PatchState
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import block
from lpengine.planner.situation import Situation, room_needed


def name_fits(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Xen: get_name; 128 bytes with the closing NUL."""
    largest = situation.facts.capabilities.largest_name
    size = len(patch.name.encode("utf-8", "surrogateescape"))
    if 0 < size <= largest and "\0" not in patch.name:
        return
    if any(violation.cause == "bad-name" for violation in patch.violations):
        return
    yield block(
        "bad-name",
        patch.name,
        "name",
        observed=f"a name of {size} bytes" if size else "no name",
        needed=f"1 to {largest} bytes without NUL",
        remedy=f"give the patch a name of at most {largest} bytes",
        size=size,
        largest=largest,
    )


def size_fits(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Xen: verify_payload, LIVEPATCH_MAX_SIZE."""
    largest = situation.facts.capabilities.largest_module
    size = len(patch.raw)
    if size <= largest or any(
        violation.cause == "payload-too-large" for violation in patch.violations
    ):
        return
    yield block(
        "payload-too-large",
        patch.name,
        "module",
        observed=f"{size} bytes",
        needed=f"at most {largest} bytes",
        remedy="strip debug sections from the module, or split the patch",
        size=size,
        largest=largest,
    )


def name_free(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """The same name with other bytes (Xen: livepatch_upload, EEXIST)."""
    other = situation.found(patch.name)
    if other is None:
        return
    way_out = f"unload {patch.name} first, or give this patch another name"
    if other.state is PatchState.APPLIED:
        way_out = f"give this patch another name, or revert and unload {patch.name}"
    yield block(
        "name-in-use",
        patch.name,
        patch.name,
        observed=f"another patch named {patch.name} is {other.state}",
        needed="a name of its own",
        remedy=way_out,
        sha256=patch.sha256,
        loaded_sha256=other.sha256 or "unknown",
        loaded_build_id=other.build_id,
    )


def build_id_free(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Xen: prepare_payload, EEXIST."""
    for other in situation.loaded:
        if patch.build_id and other.build_id == patch.build_id:
            yield block(
                "build-id-in-use",
                patch.name,
                other.name,
                observed=f"{other.name} is {other.state} with the same build id",
                needed="a build id that no loaded patch has",
                remedy=f"it is the same patch: use {other.name}, or unload it first",
                build_id=patch.build_id,
                loaded_as=other.name,
            )


def memory_fits(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Xen: move_payload, ENOMEM."""
    needed = room_needed(patch)
    if needed > situation.free:
        yield block(
            "out-of-memory",
            patch.name,
            "patch area",
            observed=f"{max(situation.free, 0)} bytes free in one piece",
            needed=f"{needed} bytes",
            remedy="unload patches that are not applied, then plan again",
            needed_bytes=needed,
            free_bytes=max(situation.free, 0),
        )

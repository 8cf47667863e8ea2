"""What a plan is bound to."""

import hashlib
import json

from lpengine.planner.facts import Facts, LoadedPatch, PatchState


def state_digest(facts: Facts) -> str:
    """SHA-256, as hex, over what must not change between planning and acting: the
    image and its boot, and which patches are loaded and applied in which order. Who
    is busy and which symbols were asked for does not matter."""
    state = {
        "image": [facts.image.build_id, facts.image.version, facts.image.boot],
        "loaded": [binding(one) for one in facts.loaded],
        "applied": list(facts.applied),
    }
    text = json.dumps(state, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def binding(one: LoadedPatch) -> list[str | bool]:
    """That it was reverted before matters only where it cannot be applied again."""
    spent = one.reverted and not one.safe_to_reapply
    spent = spent and one.state is PatchState.CHECKED
    return [one.name, one.build_id, one.sha256, str(one.state), spent]

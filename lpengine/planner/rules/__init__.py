"""The rules, in groups; each is (patch, situation) -> findings."""

from collections.abc import Callable, Iterator

from lpengine.patch.model import Patch
from lpengine.planner.findings import Finding
from lpengine.planner.rules.alternatives import alternatives_known
from lpengine.planner.rules.consequences import comes_off_again
from lpengine.planner.rules.expectations import expectations_met, expectations_sound
from lpengine.planner.rules.form import well_formed
from lpengine.planner.rules.identity import made_for_image
from lpengine.planner.rules.live import code_decodes, no_jump_into, text_unmodified
from lpengine.planner.rules.naming import (
    build_id_free,
    memory_fits,
    name_fits,
    name_free,
    size_fits,
)
from lpengine.planner.rules.nops import nop_sizes, nop_whole
from lpengine.planner.rules.overlap import applied_distinct, functions_distinct
from lpengine.planner.rules.quiet import functions_idle, hooks_may_veto
from lpengine.planner.rules.reach import (
    functions_reach,
    relocations_reach,
    relocations_supported,
)
from lpengine.planner.rules.shape import code_seen, room_for_jump, sizes_true
from lpengine.planner.rules.symbols import (
    functions_found,
    new_names_free,
    references_known,
)
from lpengine.planner.situation import Situation

Rule = Callable[[Patch, Situation], Iterator[Finding]]

# What may hinder the module from being loaded beside the others.
LOADING: tuple[Rule, ...] = (name_free, memory_fits)

# What the target, or a careful reader, has against the module itself. They hold
# for a loaded one as well: it may have been loaded by something less careful.
MODULE: tuple[Rule, ...] = (
    name_fits,
    size_fits,
    well_formed,
    references_known,
    relocations_supported,
    relocations_reach,
    functions_found,
    code_seen,
    sizes_true,
    room_for_jump,
    nop_sizes,
    functions_reach,
    functions_distinct,
    code_decodes,
    no_jump_into,
    build_id_free,
    alternatives_known,
    made_for_image,
    new_names_free,
)

# What depends on the moment in which it is applied.
APPLYING: tuple[Rule, ...] = (
    nop_whole,
    applied_distinct,
    expectations_sound,
    text_unmodified,
    expectations_met,
    functions_idle,
    hooks_may_veto,
    comes_off_again,
)

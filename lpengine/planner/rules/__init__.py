"""The rules, in groups; each is (patch, situation) -> findings."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lpengine.patch.model import Patch
from lpengine.planner.findings import Finding
from lpengine.planner.rules.alternatives import alternatives_known
from lpengine.planner.rules.consequences import comes_off_again
from lpengine.planner.rules.expectations import expectations_met, expectations_sound
from lpengine.planner.rules.form import well_formed
from lpengine.planner.rules.identity import made_for_image
from lpengine.planner.rules.linux_entry import (
    modules_allowed,
    name_not_taken,
    tracing_on,
)
from lpengine.planner.rules.linux_identity import (
    built_for_image,
    built_for_release,
    versions_fit,
    versions_given,
)
from lpengine.planner.rules.linux_quiet import tasks_leave
from lpengine.planner.rules.linux_state import (
    callbacks_may_veto,
    replaces_others,
    states_compatible,
    survives_reload,
)
from lpengine.planner.rules.linux_symbols import (
    functions_located,
    klp_symbols_found,
    objects_present,
    symbols_seen,
)
from lpengine.planner.rules.linux_unchecked import (
    new_functions_sized,
    relocations_filed,
    unwindable,
)
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
from lpengine.planner.rules.shape import (
    code_seen,
    image_seen,
    room_for_jump,
    sizes_true,
)
from lpengine.planner.rules.symbols import (
    functions_found,
    new_names_free,
    references_known,
)
from lpengine.planner.situation import Situation

Rule = Callable[[Patch, Situation], Iterator[Finding]]


@dataclass(frozen=True)
class RuleSet:
    """`loading`: what may hinder the module from being loaded beside the others.
    `module`: what the target, or a careful reader, has against the module itself;
    that holds for a loaded one as well, which may have been loaded by something less
    careful. `applying`: what depends on the moment in which it is applied."""

    loading: tuple[Rule, ...]
    module: tuple[Rule, ...]
    applying: tuple[Rule, ...]


XEN = RuleSet(
    loading=(name_free, memory_fits),
    module=(
        name_fits,
        size_fits,
        well_formed,
        references_known,
        relocations_supported,
        relocations_reach,
        functions_found,
        image_seen,
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
    ),
    applying=(
        nop_whole,
        applied_distinct,
        expectations_sound,
        text_unmodified,
        expectations_met,
        functions_idle,
        hooks_may_veto,
        comes_off_again,
    ),
)

LINUX = RuleSet(
    loading=(name_free, name_not_taken),
    module=(
        name_fits,
        size_fits,
        well_formed,
        built_for_release,
        built_for_image,
        versions_given,
        versions_fit,
        symbols_seen,
        objects_present,
        functions_located,
        klp_symbols_found,
        relocations_filed,
        new_functions_sized,
        unwindable,
    ),
    applying=(
        modules_allowed,
        tracing_on,
        states_compatible,
        survives_reload,
        replaces_others,
        tasks_leave,
        callbacks_may_veto,
    ),
)

# By the format of the modules that the target takes.
RULES: Mapping[str, RuleSet] = MappingProxyType({"xen": XEN, "linux": LINUX})

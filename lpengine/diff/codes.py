"""The planner's codes for what cannot be a live patch, and refusals that have them."""

from lpengine.diff.changes import Refusal

LAYOUT_CHANGED = "LP-DAT-301"
DATA_CHANGED = "LP-DAT-302"
BOOT_ONLY = "LP-DAT-304"
SYMBOL_MISSING = "LP-SYM-151"
SYMBOL_AMBIGUOUS = "LP-SYM-152"
SYMBOL_KIND = "LP-SYM-156"
TOO_SHORT = "LP-SHP-171"
NOT_PATCHABLE = "LP-SHP-172"
REWRITTEN = "LP-SHP-174"
STATIC_LOST = "LP-CHG-901"
PER_CPU_ADDED = "LP-CHG-902"
ASSEMBLY_CHANGED = "LP-CHG-903"
PROTOTYPE_CHANGED = "LP-CHG-904"
INLINED_ELSEWHERE = "LP-CHG-905"
SECTION_UNKNOWN = "LP-CHG-906"
NOT_COMPARABLE = "LP-CHG-907"

ALL = frozenset(
    (
        LAYOUT_CHANGED,
        DATA_CHANGED,
        BOOT_ONLY,
        SYMBOL_MISSING,
        SYMBOL_AMBIGUOUS,
        SYMBOL_KIND,
        TOO_SHORT,
        NOT_PATCHABLE,
        REWRITTEN,
        STATIC_LOST,
        PER_CPU_ADDED,
        ASSEMBLY_CHANGED,
        PROTOTYPE_CHANGED,
        INLINED_ELSEWHERE,
        SECTION_UNKNOWN,
        NOT_COMPARABLE,
    )
)

HOOK = "declare a hook that does it for what exists, by name: --hook {}=HOOK"


def data_changed(subject: str, cause: str, evidence: str) -> Refusal:
    """What a live patch cannot do to variables that are in use."""
    remedy = HOOK.format(subject)
    return Refusal(DATA_CHANGED, cause, subject, evidence, remedy, liftable=True)


def boot_only(subject: str, cause: str, evidence: str) -> Refusal:
    """What has run, or was read, when the machine booted."""
    remedy = f"boot the fixed build, or {HOOK.format(subject)}"
    return Refusal(BOOT_ONLY, cause, subject, evidence, remedy, liftable=True)

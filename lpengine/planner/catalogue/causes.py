"""Which code every cause belongs to, and when the target would find out.

The phases are in the order in which Xen goes through them (livepatch.c:
livepatch_upload, load_payload_data, prepare_payload, livepatch_action), so that
the first finding of a patch is the one the hypervisor would stop at.
"""

from collections.abc import Mapping
from types import MappingProxyType

PHASES: tuple[tuple[str, Mapping[str, str]], ...] = (
    (
        "permission",
        {
            "no-live-patching": "LP-TGT-104",
            "wrong-interface": "LP-TGT-102",
            "not-privileged": "LP-ENV-606",
            "modules-disabled": "LP-ENV-606",
            "module-unsigned": "LP-ENV-606",
            "locked-down": "LP-ENV-606",
            "wrong-format": "LP-MOD-001",
            "not-cumulative": "LP-TGT-106",
            "live-patching-disabled": "LP-POL-401",
            "not-licensed": "LP-POL-402",
            "unknown-action": "LP-TGT-106",
            "list-too-many": "LP-ENV-610",
            "already-applied": "LP-DEP-505",
        },
    ),
    (
        "name",
        {
            "bad-name": "LP-DEP-510",
            "payload-empty": "LP-MOD-001",
            "payload-too-large": "LP-MOD-001",
            "name-in-use": "LP-DEP-504",
        },
    ),
    (
        "file",
        {
            "not-elf": "LP-MOD-001",
            "header-invalid": "LP-MOD-001",
            "wrong-machine": "LP-MOD-001",
            "too-many-sections": "LP-MOD-001",
            "no-section-names": "LP-MOD-002",
            "section-headers-corrupt": "LP-MOD-002",
            "section-out-of-file": "LP-MOD-002",
            "section-alignment": "LP-MOD-002",
            "section-address": "LP-MOD-002",
            "bss-too-large": "LP-MOD-001",
            "two-symbol-tables": "LP-MOD-002",
            "no-symbol-table": "LP-MOD-002",
            "symbol-table-corrupt": "LP-MOD-002",
            "string-table-corrupt": "LP-MOD-002",
            "section-name-corrupt": "LP-MOD-002",
            "symbol-name-corrupt": "LP-MOD-002",
            "unknown-rule": "LP-MOD-009",
        },
    ),
    (
        "space",
        {
            "writable-and-executable": "LP-MOD-007",
            "zero-alignment": "LP-MOD-007",
            "unchecked-pointer": "LP-MOD-007",
            "out-of-memory": "LP-ENV-605",
        },
    ),
    (
        "versions",
        {
            "module-layout-mismatch": "LP-TGT-102",
            "versions-missing": "LP-MOD-003",
            "vermagic-mismatch": "LP-TGT-102",
            "image-mismatch": "LP-TGT-101",
            "not-marked-livepatch": "LP-MOD-003",
        },
    ),
    (
        "symbols",
        {
            "common-symbol": "LP-SYM-156",
            "symbol-section": "LP-SYM-156",
            "unknown-symbol": "LP-SYM-151",
            "ambiguous-symbol": "LP-SYM-152",
            "symbol-version-missing": "LP-SYM-154",
            "symbol-version-mismatch": "LP-SYM-154",
            "klp-symbol-not-found": "LP-SYM-151",
            "symbol-ambiguous": "LP-SYM-152",
            "symbol-position": "LP-SYM-152",
            "init-reference": "LP-SYM-155",
        },
    ),
    (
        "relocations",
        {
            "rel-unsupported": "LP-MOD-005",
            "relocation-link": "LP-MOD-005",
            "relocation-header": "LP-MOD-005",
            "relocation-undef": "LP-MOD-005",
            "relocation-symbol": "LP-MOD-005",
            "relocation-ignored-symbol": "LP-MOD-005",
            "relocation-out-of-section": "LP-MOD-005",
            "relocation-unsupported": "LP-MOD-005",
            "relocation-overflow": "LP-MOD-005",
            "relocation-target-nonzero": "LP-MOD-005",
            "klp-relocation-misfiled": "LP-MOD-011",
            "klp-relocation-early": "LP-MOD-011",
        },
    ),
    (
        "sections",
        {
            "section-not-allocated": "LP-MOD-007",
            "section-missing": "LP-MOD-003",
            "section-empty": "LP-MOD-003",
            "nothing-to-patch": "LP-MOD-006",
            "funcs-size": "LP-MOD-003",
        },
    ),
    (
        "functions",
        {
            "wrong-version": "LP-MOD-004",
            "old-size-zero": "LP-SHP-179",
            "old-function-not-found": "LP-SYM-151",
            "init-target": "LP-SHP-172",
            "not-in-text": "LP-SHP-172",
            "code-not-seen": "LP-TGT-107",
            "wrong-old-size": "LP-SHP-179",
            "function-too-small": "LP-SHP-171",
            "uses-padding": "LP-SHP-171",
            "nop-too-long": "LP-SHP-171",
            "nop-beyond-function": "LP-SHP-171",
            "nop-underflow": "LP-SHP-177",
            "nop-partial-instruction": "LP-SHP-177",
            "function-out-of-reach": "LP-SHP-173",
            "function-twice": "LP-SHP-180",
            "function-undecodable": "LP-SHP-178",
            "jump-into-patched-bytes": "LP-SHP-175",
            "readonly-funcs": "LP-MOD-007",
            "new-function-unsized": "LP-MOD-012",
            "unwind-missing": "LP-QUI-206",
            "target-absent": "LP-TGT-103",
        },
    ),
    (
        "special sections",
        {
            "hook-size": "LP-MOD-003",
            "note-malformed": "LP-MOD-003",
            "build-id-in-use": "LP-DEP-511",
            "bug-frames-size": "LP-MOD-008",
            "alternatives-size": "LP-MOD-008",
            "alternatives-without-text": "LP-MOD-008",
            "alternatives-without-replacement": "LP-MOD-008",
            "alternative-outside-text": "LP-MOD-008",
            "alternative-outside-replacement": "LP-MOD-008",
            "foreign-alternatives": "LP-SHP-174",
            "ex-table-size": "LP-MOD-008",
            "modinfo-not-terminated": "LP-MOD-003",
        },
    ),
    (
        "identity",
        {"no-xen-build-id": "LP-TGT-104", "xen-build-id-mismatch": "LP-TGT-101"},
    ),
    ("new symbols", {"duplicate-symbol": "LP-SYM-153"}),
    (
        "state",
        {
            "not-found": "LP-DEP-508",
            "busy": "LP-ENV-604",
            "unload-applied": "LP-DEP-509",
            "still-needed": "LP-DEP-513",
            "not-top": "LP-DEP-503",
            "wrong-state": "LP-DEP-512",
            "reapply-with-data": "LP-DAT-305",
            "depends-mismatch": "LP-DEP-501",
            "replace-vetoing-hooks": "LP-DAT-305",
            "overlaps-applied": "LP-DEP-502",
            "states-incompatible": "LP-DEP-514",
            "target-reload": "LP-DEP-515",
            "pinned": "LP-DEP-516",
        },
    ),
    (
        "expectations",
        {
            "expectation-no-address": "LP-MOD-010",
            "expectation-too-long": "LP-MOD-010",
            "expectation-reserved": "LP-MOD-010",
            "expectation-beyond-function": "LP-MOD-010",
            "expectation-mismatch": "LP-TGT-105",
            "target-text-modified": "LP-TGT-105",
        },
    ),
    (
        "action",
        {
            "hook-veto": "LP-DAT-306",
            "waitqueue-active": "LP-QUI-204",
            "quiesce-timeout": "LP-QUI-201",
            "function-busy": "LP-QUI-203",
            "function-not-traced": "LP-SHP-172",
            "function-hooked": "LP-DEP-502",
            "tracing-disabled": "LP-ENV-611",
            "transition-stalled": "LP-QUI-202",
            "function-resident": "LP-QUI-205",
            "refused": "LP-MOD-009",
        },
    ),
    ("consequences", {"not-revertible": "LP-DAT-305"}),
)

CODE_OF: Mapping[str, str] = MappingProxyType(
    {cause: code for _, causes in PHASES for cause, code in causes.items()}
)
PHASE_OF: Mapping[str, int] = MappingProxyType(
    {cause: at for at, (_, causes) in enumerate(PHASES) for cause in causes}
)


def about_function(cause: str) -> bool:
    """Whether the target finds out while it goes through the function records."""
    return PHASES[PHASE_OF[cause]][0] == "functions"

"""POL: policy, licence, signature."""

from lpengine.planner.catalogue.code import Code
from lpengine.planner.findings import Guidance

CODES = (
    Code(
        "LP-POL-401",
        "LIVE_PATCHING_DISABLED",
        summary="Live patching is switched off here.",
        detection="The pool's property or the policy file says so.",
        remedy="switch live patching on, or reboot for the update",
        guidance=Guidance.EVACUATE_AND_REBOOT,
        source="XenCenter: live patching is disabled",
        text="Somebody decided that this host takes its updates by reboot. Patches "
        "that are applied may still be reverted. The files on disk are installed "
        "either way, and the reboot makes the fix take effect.",
    ),
    Code(
        "LP-POL-402",
        "NOT_LICENSED",
        summary="The licence does not include live patching.",
        detection="The feature is restricted by the host's licence.",
        remedy="extend the licence, or reboot for the update",
        guidance=Guidance.EVACUATE_AND_REBOOT,
        source="XAPI: LICENCE_RESTRICTION",
        text="The product ties live patching to an edition. Nothing technical stands "
        "against the patch. Without the licence the update takes effect at the next "
        "boot.",
    ),
    Code(
        "LP-POL-403",
        "SIGNATURE_INVALID",
        summary="The signature does not match the content.",
        detection="The signature is checked over the manifest, which pins every "
        "content by its hash.",
        remedy="get it again; if it stays wrong, treat it as a security incident",
        guidance=Guidance.NONE,
        source="XAPI: package signatures",
        text="Either the file was damaged on its way, or somebody changed it. A patch "
        "runs with the highest privilege there is, so there is no option to ignore "
        "this.",
    ),
    Code(
        "LP-POL-404",
        "SIGNER_NOT_TRUSTED",
        summary="The signature is good, but by a key that is not trusted here.",
        detection="The key is not in the list of trusted ones, expired or revoked.",
        remedy="import the key after checking its fingerprint",
        guidance=Guidance.NONE,
        source="XAPI: UPDATE_PRECHECK_FAILED_GPGKEY_NOT_IMPORTED",
        text="Trust is a decision of the administrator. Compare the fingerprint with "
        "the publisher's by another way before importing the key.",
    ),
    Code(
        "LP-POL-405",
        "ROLLBACK_REFUSED",
        summary="The update is older than what is installed.",
        detection="Its version is compared with the recorded one.",
        remedy="ask for the downgrade explicitly",
        guidance=Guidance.NONE,
        source="SUSE klp: downgrade asks for confirmation",
        text="Going back opens holes that were closed. It is possible, but nobody "
        "should get there by mistake.",
    ),
    Code(
        "LP-POL-406",
        "OUTSIDE_WINDOW",
        summary="It is not the time for this.",
        detection="Maintenance window, tier or delay has not been reached.",
        remedy="wait for the window",
        guidance=Guidance.RETRY,
        source="Canonical: tiers and cut-off dates; KernelCare: delay",
        text="The policy says when hosts may be changed, and how long an update has "
        "to prove itself elsewhere first. The plan stays valid until the state of "
        "the host changes.",
        retryable=True,
    ),
    Code(
        "LP-POL-407",
        "SIGNATURE_MISSING",
        summary="The update is not signed.",
        detection="The bundle has no signature beside its manifest.",
        remedy="get the signed one, or sign it once you know where it is from",
        guidance=Guidance.NONE,
        source="XAPI: update.xml and repomd.xml must be signed",
        text="Nothing says who made the update. A patch runs with the highest "
        "privilege there is, so somebody has to vouch for it: its publisher, or the "
        "administrator with a key of their own.",
    ),
)

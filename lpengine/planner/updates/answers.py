"""What a host of the second generation answers for an update (XenServer 7 to 8.2,
python3/extensions/pool_update.precheck): text of package manager and script into a
status or a code, and codes into rows of the prechecks."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from lpengine.planner.updates.plan import Group, Precheck
from lpengine.planner.updates.prechecks.rows import problem
from lpengine.planner.updates.state import LivepatchStatus, ServerPrecheck

INVALID = "INVALID_UPDATE"
NOT_FOUND = "CANNOT_FIND_UPDATE"
LICENCE = "LICENCE_RESTRICTION"
FAILED = "UPDATE_PRECHECK_FAILED_"
ISO_MOUNTED = "PATCH_PRECHECK_FAILED_ISO_MOUNTED"
VM_RUNNING = "PATCH_PRECHECK_FAILED_VM_RUNNING"

# What the update's own script may say first. Anything else is no live patch, so that
# the default leads to a reboot.
STATUS_WORDS = {
    "PATCH_PRECHECK_LIVEPATCH_COMPLETE": LivepatchStatus.COMPLETE,
    "PATCH_PRECHECK_LIVEPATCH_INCOMPLETE": LivepatchStatus.INCOMPLETE,
    "PATCH_PRECHECK_LIVEPATCH_NOT_APPLICABLE": LivepatchStatus.NONE,
}

# dnf prints these on the way to other failures too, so that they count only where it
# did not get as far as resolving.
_KEY_TROUBLE = (
    "Signature verification failed.",
    "Public key is not installed.",
    "Public key import failed.",
    "The package is not signed.",
    "GPG signature verification error",
)
_RESOLVING = "Failed to resolve the transaction:\n"
_ADVICE = "You can try to add to command line:"
_ERROR_XML = re.compile(r"<error errorcode=.+</error>", re.DOTALL)
_CONFLICT = re.compile(r" conflicts with (\S+)")
_WRONG_VERSION = re.compile(r"nothing provides (\S+\s*[<>=]+\s*\S+) needed by (\S+)")
_PROVIDES = re.compile(r"nothing provides (.+?)(?: needed by | from |\n)")
_REQUIRES = re.compile(r" requires (.+?), but none of")

# The elements that the two known errors come with, in the order of their parameters.
_XML_PARAMETERS = {
    FAILED + "WRONG_SERVER_VERSION": ("found", "required"),
    LICENCE: ("feature",),
}


@dataclass(frozen=True)
class Script:
    """How the update's own precheck ended."""

    status: int
    output: str


@dataclass(frozen=True)
class PrecheckRun:
    """One precheck on one host, step by step. `failed_install` is what the package
    manager printed if it could not install the control package ("" where it could);
    without such a package the script is not asked. `script` is None where there is
    none."""

    name: str
    reference: str = ""
    disk_present: bool = True
    free: int = 0
    installation_size: int | None = 0
    control_package: bool = True
    failed_install: str = ""
    script: Script | None = None


def answer_of(run: PrecheckRun) -> ServerPrecheck:
    """The first thing that stands against the update, or its status."""
    if not run.disk_present:
        return ServerPrecheck(error=NOT_FOUND)
    if run.installation_size is None:
        text = "Issue with <installation-size> in update.xml"
        return ServerPrecheck(error=INVALID, parameters=(text,))
    if run.installation_size > run.free:
        sizes = (str(run.free), str(run.installation_size))
        return failure("OUT_OF_SPACE", run.name, *sizes)
    if not run.control_package:
        return ServerPrecheck(LivepatchStatus.NONE)
    if run.failed_install:
        return install_failure(run.failed_install, run.name, run.reference)
    if run.script is not None and run.script.status != 0:
        return script_failure(run.script.output, run.name)
    return ServerPrecheck(status_word(run.script.output if run.script else ""))


def status_word(output: str) -> LivepatchStatus:
    """The first word of what the script printed, if it printed a whole line."""
    words = output.split() if "\n" in output else []
    return STATUS_WORDS.get(words[0] if words else "", LivepatchStatus.NONE)


def failure(code: str, *parameters: str) -> ServerPrecheck:
    return ServerPrecheck(error=FAILED + code, parameters=parameters)


def install_failure(output: str, name: str, reference: str = "") -> ServerPrecheck:
    """What a failed installation of the control package was about."""
    if "Failed to download packages" in output:
        text = "Missing package(s) in the update"
        return ServerPrecheck(error=INVALID, parameters=(name, text))
    if _RESOLVING not in output and any(text in output for text in _KEY_TROUBLE):
        return failure("GPGKEY_NOT_IMPORTED", name)
    for code in (ISO_MOUNTED, VM_RUNNING):
        if code in output:
            return ServerPrecheck(error=code, parameters=(reference,))
    _, _, unresolved = output.partition(_RESOLVING)
    if unresolved:
        return unresolved_failure(unresolved.partition(_ADVICE)[0], name)
    return script_failure(output, name)


def unresolved_failure(text: str, name: str) -> ServerPrecheck:
    """What kept the package manager from finding a solution."""
    if " conflicts with " in text:
        conflicts = _CONFLICT.findall(text)
        if conflicts:
            return failure("CONFLICT_PRESENT", name, " ".join(conflicts))
        return failure("UNKNOWN_ERROR", name, text)
    wrong = _WRONG_VERSION.search(text)
    if wrong:
        required, found = wrong.group(1).strip(), wrong.group(2).strip()
        return failure("WRONG_SERVER_VERSION", name, found, required)
    absent = _PROVIDES.findall(text) + _REQUIRES.findall(text)
    if absent:
        return failure("PREREQUISITE_MISSING", name, " ".join(absent))
    return failure("UNKNOWN_ERROR", name, text)


def script_failure(output: str, name: str) -> ServerPrecheck:
    """An error as XML, in the midst of whatever else was printed."""
    found = _ERROR_XML.search(output)
    if not found:
        return failure("UNKNOWN_ERROR", name, output)
    code, elements = error_xml(found.group())
    wanted = _XML_PARAMETERS.get(code)
    if wanted is None or not all(elements.get(one) for one in wanted):
        return failure("UNKNOWN_ERROR", name, found.group() if code else output)
    parameters = (name, *(elements[one] for one in wanted))
    return ServerPrecheck(error=code, parameters=parameters)


def error_xml(text: str) -> tuple[str, dict[str, str]]:
    """Code and elements of an error; the code is "" where it is no XML."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return "", {}
    elements = {one.tag: one.text or "" for one in root.iter()}
    return root.get("errorcode", ""), elements


_CAUSES = {
    FAILED + "WRONG_SERVER_VERSION": ("server-version", "is for another version"),
    FAILED + "CONFLICT_PRESENT": ("server-conflict", "stands against what is there"),
    FAILED + "PREREQUISITE_MISSING": ("server-prerequisite", "requires others"),
    FAILED + "OUT_OF_SPACE": ("disk-space", "does not fit"),
    FAILED + "GPGKEY_NOT_IMPORTED": ("server-key", "is signed by an unknown key"),
    "PATCH_PRECHECK_FAILED_WRONG_SERVER_VERSION": (
        "server-version",
        "is for another version",
    ),
    "PATCH_PRECHECK_FAILED_OUT_OF_SPACE": ("disk-space", "does not fit"),
    "OUT_OF_SPACE": ("disk-space", "does not fit"),
    LICENCE: ("server-licence", "is not licensed"),
    ISO_MOUNTED: ("server-guest", "needs a medium to be ejected"),
    VM_RUNNING: ("server-guest", "needs guests to be shut down"),
}


def problem_of(host: str, answer: ServerPrecheck) -> Precheck:
    """The row for an error that a host answered."""
    code, parameters = unwrapped(answer.error, answer.parameters)
    cause, what = _CAUSES.get(code, ("server-refuses", "is refused"))
    details = ", ".join(one for one in parameters[1:] if one)
    name = parameters[0] if parameters and parameters[0] else "the update"
    text = f"{name} {what}" + (f": {details}" if details else "")
    remedy = f"the host says {code}" if cause == "server-refuses" else ""
    return problem(Group.SERVER_STATUS, host, cause, text, remedy=remedy)


def unwrapped(code: str, parameters: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """An unknown error may hold one that is known, as XML."""
    if code != FAILED + "UNKNOWN_ERROR" or len(parameters) < 2:
        return code, tuple(parameters)
    found = _ERROR_XML.search(parameters[1])
    inner, elements = error_xml(found.group()) if found else ("", {})
    if not inner:
        return code, tuple(parameters)
    details = (elements.get(one, "") for one in ("found", "required", "feature"))
    return inner, (parameters[0], *details)

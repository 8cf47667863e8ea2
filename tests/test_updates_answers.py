"""What hosts of the second generation answer for an update, and what that means."""

import pytest

from lpengine.planner.updates import (
    LivepatchStatus,
    ServerPrecheck,
)
from lpengine.planner.updates.answers import (
    PrecheckRun,
    Script,
    answer_of,
    problem_of,
    status_word,
)

COMPLETE, INCOMPLETE, NONE = (
    LivepatchStatus.COMPLETE,
    LivepatchStatus.INCOMPLETE,
    LivepatchStatus.NONE,
)
FAILED = "UPDATE_PRECHECK_FAILED_"


UNRESOLVED = "Repositories loaded.\nFailed to resolve the transaction:\n"


def failed(text: str) -> ServerPrecheck:
    return answer_of(PrecheckRun("hotfix", "ref", failed_install=text))


@pytest.mark.parametrize(
    ("text", "code", "parameters"),
    [
        (
            "x\nFailed to download packages\nThe package is not signed.\n",
            "INVALID_UPDATE",
            ("hotfix", "Missing package(s) in the update"),
        ),
        ("The package is not signed.\n", FAILED + "GPGKEY_NOT_IMPORTED", ("hotfix",)),
        (
            "PATCH_PRECHECK_FAILED_VM_RUNNING",
            "PATCH_PRECHECK_FAILED_VM_RUNNING",
            ("ref",),
        ),
        (
            "PATCH_PRECHECK_FAILED_ISO_MOUNTED",
            "PATCH_PRECHECK_FAILED_ISO_MOUNTED",
            ("ref",),
        ),
        (
            UNRESOLVED + "a conflicts with b provided by c\n d conflicts with e\n",
            FAILED + "CONFLICT_PRESENT",
            ("hotfix", "b e"),
        ),
        (
            UNRESOLVED + " - nothing provides base >= 9 needed by fix-1.noarch\n",
            FAILED + "WRONG_SERVER_VERSION",
            ("hotfix", "fix-1.noarch", "base >= 9"),
        ),
        (
            UNRESOLVED
            + " - nothing provides lib needed by fix-1\n - a requires b, but none of\n",
            FAILED + "PREREQUISITE_MISSING",
            ("hotfix", "lib b"),
        ),
        (
            "GPG signature verification error\n"
            + UNRESOLVED
            + "nothing provides lib from x\n",
            FAILED + "PREREQUISITE_MISSING",
            ("hotfix", "lib"),
        ),
        (
            UNRESOLVED + "No match\nYou can try to add to command line:\n --best",
            FAILED + "UNKNOWN_ERROR",
            ("hotfix", "No match\n"),
        ),
        ("whatever", FAILED + "UNKNOWN_ERROR", ("hotfix", "whatever")),
    ],
)
def test_what_a_failed_installation_was_about(
    text: str, code: str, parameters: tuple[str, ...]
) -> None:
    assert failed(text) == ServerPrecheck(error=code, parameters=parameters)


WRONG = (
    f'<error errorcode="{FAILED}WRONG_SERVER_VERSION">'
    "<found>7</found><required>8</required></error>"
)


@pytest.mark.parametrize(
    ("output", "code", "parameters"),
    [
        (f"noise\n{WRONG}\n", FAILED + "WRONG_SERVER_VERSION", ("hotfix", "7", "8")),
        (
            '<error errorcode="LICENCE_RESTRICTION"><feature>x</feature></error>',
            "LICENCE_RESTRICTION",
            ("hotfix", "x"),
        ),
        (
            '<error errorcode="OTHER"><a/></error>',
            FAILED + "UNKNOWN_ERROR",
            ("hotfix", '<error errorcode="OTHER"><a/></error>'),
        ),
        (
            '<error errorcode="LICENCE_RESTRICTION"><b></error>',
            FAILED + "UNKNOWN_ERROR",
            ("hotfix", '<error errorcode="LICENCE_RESTRICTION"><b></error>'),
        ),
        ("no", FAILED + "UNKNOWN_ERROR", ("hotfix", "no")),
    ],
)
def test_errors_of_the_updates_own_script(
    output: str, code: str, parameters: tuple[str, ...]
) -> None:
    run = PrecheckRun("hotfix", script=Script(1, output))
    assert answer_of(run) == ServerPrecheck(error=code, parameters=parameters)


@pytest.mark.parametrize(
    ("output", "status"),
    [
        ("PATCH_PRECHECK_LIVEPATCH_COMPLETE\n", COMPLETE),
        ("PATCH_PRECHECK_LIVEPATCH_INCOMPLETE more\n", INCOMPLETE),
        ("PATCH_PRECHECK_LIVEPATCH_NOT_APPLICABLE\n", NONE),
        ("PATCH_PRECHECK_LIVEPATCH_COMPLETE", NONE),
        ("done PATCH_PRECHECK_LIVEPATCH_COMPLETE\n", NONE),
        ("\n", NONE),
        ("", NONE),
    ],
)
def test_anything_but_the_words_is_no_live_patch(
    output: str, status: LivepatchStatus
) -> None:
    assert status_word(output) is status
    answer = answer_of(PrecheckRun("hotfix", script=Script(0, output)))
    assert answer == ServerPrecheck(status)


@pytest.mark.parametrize(
    ("run", "answer"),
    [
        (
            PrecheckRun("x", disk_present=False),
            ServerPrecheck(error="CANNOT_FIND_UPDATE"),
        ),
        (
            PrecheckRun("x", free=1, installation_size=2),
            ServerPrecheck(error=FAILED + "OUT_OF_SPACE", parameters=("x", "1", "2")),
        ),
        (PrecheckRun("x", free=2, installation_size=2), ServerPrecheck(NONE)),
        (
            PrecheckRun("x", control_package=False, failed_install="bad"),
            ServerPrecheck(NONE),
        ),
        (PrecheckRun("x"), ServerPrecheck(NONE)),
    ],
)
def test_the_steps_of_a_precheck(run: PrecheckRun, answer: ServerPrecheck) -> None:
    assert answer_of(run) == answer


def test_a_size_that_cannot_be_read_is_an_invalid_update() -> None:
    run = PrecheckRun("x", installation_size=None)
    assert answer_of(run).error == "INVALID_UPDATE"


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (ServerPrecheck(error=FAILED + "WRONG_SERVER_VERSION"), "server-version"),
        (ServerPrecheck(error=FAILED + "CONFLICT_PRESENT"), "server-conflict"),
        (ServerPrecheck(error=FAILED + "PREREQUISITE_MISSING"), "server-prerequisite"),
        (ServerPrecheck(error=FAILED + "OUT_OF_SPACE"), "disk-space"),
        (ServerPrecheck(error=FAILED + "GPGKEY_NOT_IMPORTED"), "server-key"),
        (ServerPrecheck(error="LICENCE_RESTRICTION"), "server-licence"),
        (ServerPrecheck(error="PATCH_PRECHECK_FAILED_VM_RUNNING"), "server-guest"),
        (ServerPrecheck(error="INVALID_UPDATE"), "server-refuses"),
        (
            ServerPrecheck(error=FAILED + "UNKNOWN_ERROR", parameters=("x", WRONG)),
            "server-version",
        ),
        (
            ServerPrecheck(error=FAILED + "UNKNOWN_ERROR", parameters=("x", "?")),
            "server-refuses",
        ),
    ],
)
def test_errors_block_and_have_a_cause(answer: ServerPrecheck, cause: str) -> None:
    check = problem_of("host1", answer)
    assert check.cause == cause
    assert check.blocks
    assert check.fix is None

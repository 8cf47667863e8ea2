"""Parses, dispatches and turns errors into exit codes; one file a verb."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from lpengine.errors import BuildError, LpengineError
from lpengine.report.table import printable

# Verb to one line of help: `lpengine --help` must not import the verbs.
VERBS = {
    "inspect": "Show what a patch module holds.",
    "plan": "Say what applying would do, and why not; change nothing.",
    "emulate": "Apply to a throw-away emulated machine, watch, take back.",
    "apply": "Plan, load and apply patch modules.",
    "revert": "Take applied patches back, newest first.",
    "replace": "Put one cumulative patch in the place of all applied ones.",
    "unload": "Remove patches that are not applied.",
    "install": "Install updates on this host: disk first, then memory.",
    "uninstall": "Take an update off this host again.",
    "boot": "Put live patches on again after a boot.",
    "recover": "Finish or undo what a power cut or a kill broke off.",
    "status": "Show booted and effective state, disk, and what is left to do.",
    "needs-reboot": "Say whether updates wait for a reboot.",
    "uname": "Print what runs as if it had been booted.",
    "clear": "Say that a task was carried out.",
    "history": "Show who did what, when, on which build id.",
    "explain": "Explain a finding's code.",
    "rule": "Ask one of the rules by which updates are planned.",
    "build": "Make a patch module from a source fix, C or assembly.",
    "bundle": "Make, look into, verify and sign updates.",
    "pool": "Update many hosts: plan, install, show, switch.",
    "lab": "Boot the real Xen or Linux under QEMU; try modules there.",
    "machine": "Make an emulated machine; call functions in it.",
}

EPILOG = """\b
Exit codes: 0 done or nothing to do; 2 wrong command line; 3 not confirmed; 4 no
such patch or target; 5 not permitted; 6 another lpengine is at work; 10 refused; 11
warnings with --strict; 12 temporary, try again; 13 module or update rejected; 14
inconclusive; 15 nothing changed: no module; 20 applied, tasks pending; 21 in memory,
but not on the disk; 22 on the disk, but not in memory; 23 failed and rolled back; 24
stuck: follow the guidance; 30 a pool stopped at a failure; 31 hosts do not answer; 1
a defect of lpengine."""


class VerbGroup(click.Group):
    """A group whose commands are modules of this package, imported when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command = import_module(f"lpengine.cli.{name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=VerbGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
)
@click.version_option(package_name="lpengine")
def lpengine() -> None:
    """Build, prove, plan, apply and take back live patches on x86-64.

    Every verb takes --json; every finding has a code that `lpengine explain`
    tells more about.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line and exit with its documented code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run(arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code."""
    as_json = "--json" in arguments
    try:
        code = lpengine.main(
            list(arguments), prog_name="lpengine", standalone_mode=False
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("lpengine: interrupted", err=True)
        return 130
    except BrokenPipeError:
        # The reader went away (lpengine status | head): nothing to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except LpengineError as error:
        show_error(error, as_json)
        return error.exit_code
    except Exception as error:  # a traceback is for us, not for an operator
        if os.environ.get("LPENGINE_DEBUG"):
            raise
        message = f"unexpected {type(error).__name__}: {error}"
        hint = "this is a defect of lpengine; LPENGINE_DEBUG=1 shows where"
        show_error(LpengineError(message, hint=hint), as_json)
        return 1


def show_error(error: LpengineError, as_json: bool) -> None:
    """One line, and the way out; as a document on stdout with --json."""
    if as_json:
        from lpengine.report.documents import error_document, to_json

        click.echo(to_json(error_document(error)))
        return
    codes = error.codes if isinstance(error, BuildError) else ()
    why = f" ({', '.join(dict.fromkeys(codes))})" if codes else ""
    click.echo(f"lpengine: {printable(error.message)}{why}", err=True)
    report = getattr(error, "report", "")
    if report:
        click.echo(report.rstrip(), err=True)
    for line in getattr(error, "left", ()):
        click.echo(f"  left: {printable(line)}", err=True)
    if error.hint:
        click.echo(f"  hint: {error.hint}", err=True)

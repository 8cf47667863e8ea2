"""lpengine lab: fetch, boot, run, test, list, stop, console"""

import os
import sys
import time
from pathlib import Path

import click

from lpengine.cli import exits
from lpengine.cli.options import JSON, Decorator
from lpengine.errors import NotFoundError, UsageError
from lpengine.hosts import lab
from lpengine.report import documents
from lpengine.report.documents import to_json
from lpengine.report.table import show, show_table

KIND = click.argument("kind", type=click.Choice(lab.KINDS))
HYPERVISOR: Decorator = click.option(
    "--hypervisor",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Xen: boot this build's xen or xen.gz instead of the distribution's.",
)
SYMBOLS: Decorator = click.option(
    "--symbols",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The xen-syms of that build; by default the one beside it.",
)


@click.group("lab")
def command() -> None:
    """Boot the real hypervisor or kernel under QEMU, from the distribution's
    packages, and try modules there.

    A guest sees this machine's file system, read-only under an overlay that is
    forgotten when it stops: lpengine runs inside from the same environment.
    """


@command.command("fetch")
@KIND
@JSON
def fetch(kind: str, as_json: bool) -> int:
    """Get the packages for guests of KIND into the cache; install nothing.

    What the distribution offers today, by way of apt's lists. Run again, it fetches
    what has become newer.
    """
    stock = lab.fetch(kind)
    document = documents.StockDocument(
        schema="lpengine/lab-stock/1",
        kind=kind,
        kernel=str(stock.kernel),
        release=stock.release,
        hypervisor=str(stock.hypervisor or ""),
        symbols=str(stock.symbols or ""),
        packages=dict(stock.packages),
    )
    if as_json:
        show([to_json(document)])
        return 0
    show_table(("PACKAGE", "VERSION"), sorted(stock.packages))
    for path in (stock.hypervisor, stock.symbols, stock.kernel):
        show([] if path is None else [str(path)])
    return 0


@command.command("boot")
@KIND
@click.option("--name", default="", help="Default: KIND, KIND-2, …")
@click.option("--memory", type=click.IntRange(min=256), metavar="MIB")
@click.option("--cpus", type=click.IntRange(1, 16), default=2, show_default=True)
@click.option(
    "--share",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A directory that the guest may write, and that outlives it.",
)
@HYPERVISOR
@SYMBOLS
@JSON
def boot(
    kind: str,
    name: str,
    memory: int | None,
    cpus: int,
    share: Path | None,
    hypervisor: Path | None,
    symbols: Path | None,
    as_json: bool,
) -> int:
    """Start a guest of KIND in the background and wait until it answers."""
    guest = lab.boot(
        kind,
        name=name,
        memory=memory or 0,
        cpus=cpus,
        share=share,
        detached=True,
        hypervisor=hypervisor,
        symbols=symbols,
    )
    row = guest_row(guest)
    if as_json:
        show(
            [to_json(documents.GuestDocument(schema="lpengine/lab-guest/1", guest=row))]
        )
    else:
        show([f"{guest.name} answers after {row.boot_seconds:.1f} s"])
    return 0


@command.command("run", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("argv", nargs=-1, required=True, metavar="[--] COMMAND [ARG...]")
def run(name: str, argv: tuple[str, ...]) -> int:
    """Run COMMAND in the guest NAME, in this directory, with our standard input.
    Its status is ours."""
    data = b"" if sys.stdin.isatty() else sys.stdin.buffer.read()
    done = lab.find(name).run(argv, input=data, directory=str(Path.cwd()))
    sys.stdout.buffer.write(done.stdout)
    sys.stderr.buffer.write(done.stderr)
    return done.status


@command.command("list")
@JSON
def list_guests(as_json: bool) -> int:
    """Show every guest, those that died too."""
    rows = [guest_row(guest) for guest in lab.guests()]
    document = documents.GuestsDocument(schema="lpengine/lab-guests/1", guests=rows)
    if as_json:
        show([to_json(document)])
    else:
        headings = ("NAME", "KIND", "STATE", "MIB", "CPUS", "BOOTED IN")
        show_table(headings, [guest_cells(row) for row in rows])
    return 0


@command.command("test")
@click.argument("module", type=click.Path(path_type=Path))
@click.option(
    "--check",
    "checks",
    multiple=True,
    metavar="COMMAND",
    help="Run before, with and after the patch, and compared; may be repeated.",
)
@click.option("--guest", "name", default="", help="A running guest, not a new one.")
@HYPERVISOR
@SYMBOLS
@JSON
def test(
    module: Path,
    checks: tuple[str, ...],
    name: str,
    hypervisor: Path | None,
    symbols: Path | None,
    as_json: bool,
) -> int:
    """Boot a guest, plan and apply MODULE there, check, revert, and say how it went.

    The kind of guest follows from the module. Exit code 0: passed; 10: the plan
    refuses the module; 23: anything else.
    """
    begun = time.monotonic()
    kind = kind_of(module)
    if name:
        guest = lab.find(name)
        trial = lab.try_module(guest, module, checks)
    else:
        fresh = lab.boot(
            kind,
            name=f"test-{os.getpid()}",
            hypervisor=hypervisor,
            symbols=symbols,
        )
        with fresh as guest:
            trial = lab.try_module(guest, module, checks)
    document = trial_document(module, guest, trial, time.monotonic() - begun)
    if as_json:
        show([to_json(document)])
    else:
        show_trial(document)
    return {"passed": 0, "refused": exits.REFUSED}.get(trial.verdict, exits.ROLLED_BACK)


@command.command("stop")
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "everything", is_flag=True, help="Every guest.")
def stop(names: tuple[str, ...], everything: bool) -> int:
    """Switch guests off and forget what they wrote."""
    if not names and not everything:
        raise UsageError("no guest named", hint="NAME..., or --all")
    chosen = lab.guests() if everything else [lab.find(name) for name in names]
    for guest in chosen:
        guest.stop()
    return 0


@command.command("console")
@click.argument("name")
def console(name: str) -> int:
    """Print what hypervisor and kernel of the guest NAME have said since its boot."""
    click.echo(lab.find(name).console, nl=False)
    return 0


def guest_row(guest: lab.Guest) -> documents.GuestRow:
    record = guest.record
    return documents.GuestRow(
        name=record.name,
        host=guest.name,
        kind=record.kind,
        alive=guest.alive,
        memory=record.memory,
        cpus=record.cpus,
        boot_seconds=record.boot_seconds,
        directory=str(record.directory),
    )


def guest_cells(row: documents.GuestRow) -> tuple[str, ...]:
    state = "on" if row.alive else "off"
    booted = f"{row.boot_seconds:.1f} s" if row.boot_seconds else "never"
    return row.name, row.kind, state, str(row.memory), str(row.cpus), booted


def kind_of(module: Path) -> str:
    """Which kind of guest takes the module: a Linux module names its kernel."""
    try:
        data = module.read_bytes()
    except OSError as error:
        raise NotFoundError(f"{module}: {error.strerror}") from error
    return "linux" if b"\0vermagic=" in b"\0" + data else "xen"


def trial_document(
    module: Path, guest: lab.Guest, trial: lab.Trial, seconds: float
) -> documents.LabDocument:
    return documents.LabDocument(
        schema="lpengine/lab/1",
        module=str(module),
        kind=guest.kind,
        verdict=trial.verdict,
        reason=trial.reason,
        boot_seconds=guest.record.boot_seconds,
        seconds=round(seconds, 2),
        steps=[documents.TrialStepRow(**vars(step)) for step in trial.steps],
        checks=[check_row(each) for each in trial.comparisons],
        console=trial.console,
    )


def check_row(comparison: lab.Comparison) -> documents.CheckRow:
    outcomes = (comparison.before, comparison.patched, comparison.reverted)
    before, patched, reverted = (said for _, said in outcomes)
    return documents.CheckRow(
        command=comparison.command,
        before=before,
        patched=patched,
        reverted=reverted,
        statuses=[status for status, _ in outcomes],
    )


def show_trial(document: documents.LabDocument) -> None:
    """The steps as a table, then what the checks said, then the verdict."""
    rows = [(s.what, str(s.status), f"{s.seconds:.2f} s") for s in document.steps]
    show_table(("STEP", "STATUS", "TIME"), rows)
    for check in document.checks:
        show([check.command])
        moments = (check.before, check.patched, check.reverted)
        for when, said in zip(("before", "patched", "reverted"), moments, strict=True):
            show([f"  {when:8}  {said}"])
    show([f"Verdict  {document.verdict} after {document.seconds:.1f} s"])
    if document.reason:
        show([f"    {document.reason}"])

"""lpengine bundle: create, inspect, verify and sign"""

import json
import sys
from pathlib import Path

import click

from lpengine.api import updates as api
from lpengine.cli.options import JSON, Decorator
from lpengine.package.authored import TEMPLATE
from lpengine.package.manifest import json_schema
from lpengine.package.metadata import is_metadata, read_updates
from lpengine.package.model import Update
from lpengine.report import update_shapes as shapes
from lpengine.report import update_text as text
from lpengine.report.documents import to_json
from lpengine.report.table import show, show_table
from lpengine.report.values import Packed

PATH = click.Path(path_type=Path)
BUNDLE: Decorator = click.argument("bundle", type=PATH)
OUTPUT: Decorator = click.option(
    "-o", "--output", type=PATH, help="Where to; by default in place."
)


@click.group("bundle")
def command() -> None:
    """Make, look into, verify and sign updates: one file with live patches for
    memory, files or packages for the disk, and guidance for afterwards."""


@command.command("create")
@click.argument("update", type=PATH, required=False, metavar="UPDATE.toml")
@click.option("-o", "--output", type=PATH, help="By default ID.lpu, here.")
@click.option(
    "--sign",
    "key",
    type=PATH,
    metavar="KEY",
    help="Sign it with this Ed25519 key of OpenSSH; a .pub file stands for a key in "
    "ssh-agent or in a FIDO token.",
)
@click.option("--template", is_flag=True, help="Print an UPDATE.toml to start from.")
@click.option("--json-schema", is_flag=True, help="Print the manifest's JSON Schema.")
@JSON
def create(
    update: Path | None,
    output: Path | None,
    key: Path | None,
    template: bool,
    json_schema: bool,
    as_json: bool,
) -> int:
    """Pack what UPDATE.toml describes.

    \b
      lpengine bundle create --template > update.toml    (and edit it)
      lpengine bundle create update.toml --sign ~/.ssh/id_ed25519

    Build ids, names and versions are read from the modules and packages; what
    UPDATE.toml says of them must agree. The same input gives the same bytes.
    """
    if template or json_schema:
        show([TEMPLATE.read_text().rstrip() if template else schema_text()])
        return 0
    if update is None:
        raise click.UsageError("give UPDATE.toml, or --template to start with one")
    packed = api.create_bundle(update, output, key=key, ask=ask_passphrase)
    return deliver(packed, as_json)


@command.command("inspect")
@BUNDLE
@click.option(
    "--manifest", is_flag=True, help="Print the manifest, to the byte that is signed."
)
@JSON
def inspect(bundle: Path, manifest: bool, as_json: bool) -> int:
    """Show what is in BUNDLE, and what of it is not understood and therefore taken
    as unsafe. Contents are not read and the signature is not judged: `verify` does.

    XenServer's updateinfo.xml (also packed), .rpm files with live patches, and what
    such packages have installed (BUNDLE is the root directory then) are shown as well.
    """
    if is_metadata(bundle):
        if manifest:
            raise click.UsageError("only a bundle has a manifest")
        return deliver_updates(bundle, as_json)
    packed = api.inspect_bundle(bundle)
    if manifest:
        sys.stdout.flush()
        sys.stdout.buffer.write(packed.manifest)
        return 0
    return deliver(packed, as_json)


@command.command("verify")
@BUNDLE
@click.option(
    "--signers",
    type=PATH,
    help="Who is trusted, as ssh-keygen -Y verify takes it; by default "
    "/etc/lpengine/allowed_signers.",
)
@click.option(
    "--revoked",
    type=PATH,
    help="Keys that are not: public keys, fingerprints or a KRL; by default "
    "/etc/lpengine/revoked_keys, if it is there.",
)
@click.option("--identity", default="", metavar="WHO", help="It must be by WHO.")
@JSON
def verify(
    bundle: Path,
    signers: Path | None,
    revoked: Path | None,
    identity: str,
    as_json: bool,
) -> int:
    """Check BUNDLE: signed by somebody who is trusted here and now, every content
    there and as the manifest says, every module for the build that it says.

    Exit code 13 for anything else.
    """
    verified = api.verify_bundle(
        bundle, signers=signers, revoked=revoked, identity=identity
    )
    if as_json:
        show([to_json(shapes.verified_document(verified))])
    else:
        show(text.verified_lines(verified))
    return 0


@command.command("sign")
@BUNDLE
@click.option(
    "--key",
    type=PATH,
    help="An Ed25519 key of OpenSSH; a .pub file stands for a key in ssh-agent or in "
    "a FIDO token.",
)
@click.option(
    "--signature",
    type=PATH,
    help="Put in this one, made elsewhere: ssh-keygen -Y sign -n lpengine-update, "
    "over what `inspect --manifest` prints.",
)
@OUTPUT
@JSON
def sign(
    bundle: Path,
    key: Path | None,
    signature: Path | None,
    output: Path | None,
    as_json: bool,
) -> int:
    """Sign BUNDLE, in the place of a signature that it has. Contents are not packed
    again, the digest stays."""
    if (key is None) == (signature is None):
        raise click.UsageError("give --key or --signature, not both and not neither")
    if key is not None:
        packed = api.sign_bundle(bundle, key, output=output, ask=ask_passphrase)
    else:
        assert signature
        packed = api.attach_signature(bundle, signature, output=output)
    return deliver(packed, as_json)


def deliver_updates(path: Path, as_json: bool) -> int:
    updates = read_updates(path)
    if as_json:
        show([to_json(shapes.updates_document(str(path), updates))])
        return 0
    for number, update in enumerate(updates):
        show([""] if number else [])
        show(text.update_lines(update))
        show_parts(update)
    return 0


def deliver(packed: Packed, as_json: bool) -> int:
    if as_json:
        show([to_json(shapes.bundle_document(packed))])
        return 0
    show(text.packed_lines(packed))
    show_parts(packed.update)
    return 0


def show_parts(update: Update) -> None:
    for headings, rows in (
        (text.LIVEPATCH_HEADINGS, text.livepatch_rows(update)),
        (text.FILE_HEADINGS, text.file_rows(update)),
        (text.PACKAGE_HEADINGS, text.package_rows(update)),
    ):
        found = list(rows)
        if found:
            show([""])
            show_table(headings, found)


def ask_passphrase() -> str:
    if not sys.stdin.isatty():
        return api.nobody_to_ask()
    return str(click.prompt("Passphrase", hide_input=True, err=True))


def schema_text() -> str:
    return json.dumps(json_schema(), indent=2)

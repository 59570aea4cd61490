"""`recovery-kit`: one page for the day on which this machine is gone."""

from pathlib import Path
from typing import Optional

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command
from hiveden_backup.cli.output import Colour
from hiveden_backup.cli.surroundings import installation
from hiveden_backup.core.errors import StorageError, UsageError
from hiveden_backup.core.offsite.kit import fits, page, svg
from hiveden_backup.host.disk.durable import translated, write_durably
from hiveden_backup.jobs.offsite.kit import confirm as confirm_it
from hiveden_backup.jobs.offsite.kit import recovery_kit as made


@command("recovery-kit")
def recovery_kit(
    drawing: Optional[Path] = typer.Option(
        None, "--svg", help="Draw it as a sheet of A4 into this file.", metavar="FILE", autocompletion=completion.files
    ),
    identity: Optional[Path] = typer.Option(
        None,
        "--with-identity",
        help="Put the private key of this file on it: only for a copy on paper.",
        metavar="FILE",
        autocompletion=completion.files,
    ),
    confirm: bool = typer.Option(False, "--confirm", help="Say that it lies where it belongs."),
) -> None:
    """Print one page with all that is needed when this machine is gone.

    Places, keys, jobs and the steps, with this program and without it. It has no secrets in it.
    """
    surroundings = installation()
    if confirm:
        if drawing or identity:
            raise UsageError("--confirm goes alone", "", "Draw the page first, look at it, then confirm")
        confirm_it(surroundings)
        output.say("Confirmed. When keys or places change, print it anew.")
        return
    lines = page(made(surroundings, identity))
    if drawing is None:
        for line in lines:
            output.say(line.text, colour=Colour.BOLD if line.head else None)
        return
    with translated(f"writing {drawing}", unwritable=StorageError):
        write_durably(drawing.absolute(), svg(lines).encode())
    output.say(f"Drew {drawing}. Print it, keep it elsewhere, then: hiveden-backup recovery-kit --confirm")
    if not fits(lines):
        output.say(f"It has {len(lines)} lines, which is small print: see whether you can read it.", err=True)

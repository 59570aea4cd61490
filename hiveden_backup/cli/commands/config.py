"""The commands of `config`: the configuration shown and changed."""

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command, options
from hiveden_backup.cli.parameters import JSON
from hiveden_backup.cli.registry import group
from hiveden_backup.cli.surroundings import installation
from hiveden_backup.host.state.key import shown_key
from hiveden_backup.jobs.setup import managed as configure

_config = group("config", "Show and change the configuration.")


@command("show", group=_config)
def show(
    key: bool = typer.Option(False, "--key", help="Only the fingerprint of the key that signs this machine's backups."),
    as_json: bool = JSON,
) -> None:
    """The effective configuration, with every default."""
    if key:
        found = shown_key(installation().state)
        if as_json:
            output.print_json({"fingerprint": found.fingerprint, "public_key": found.public})
        else:
            typer.echo(found.fingerprint)
        return
    table = configure.show(options.config)
    if as_json:
        output.print_json(table)
    else:
        typer.echo(configure.text(table), nl=False)


@command("get", group=_config)
def get(
    key: str = typer.Argument(..., metavar="KEY", help="Such as jobs.immich.schedule.", autocompletion=completion.keys),
    as_json: bool = JSON,
) -> None:
    """One effective value."""
    value = configure.get(options.config, key)
    if as_json:
        output.print_json(value)
    else:
        typer.echo(configure.text(value), nl=False)


@command("set", group=_config)
def set_value(
    key: str = typer.Argument(..., metavar="KEY", help="Such as jobs.immich.schedule.", autocompletion=completion.keys),
    value: str = typer.Argument(..., metavar="VALUE", help="A TOML value, else taken as a string."),
) -> None:
    """Set a value in the managed drop-in.

    Refused when the result would not be valid.
    """
    configure.set_value(options.config, key, value)
    typer.echo(f"Set {key}.")


@command("unset", group=_config)
def unset(
    key: str = typer.Argument(..., metavar="KEY", help="Such as jobs.immich.schedule.", autocompletion=completion.keys),
) -> None:
    """Take a value out of the managed drop-in again.

    What the other files say counts then. Refused when the result would not be valid.
    """
    parts, value = configure.unset(options.config, key)
    typer.echo(f"Unset {key}. In effect now: {_in_effect(value)}")
    if parts[0] == "jobs":
        typer.echo("If it tells when a job runs, change its timer: hiveden-backup schedule apply")


def _in_effect(value: object) -> str:
    if value is None:
        return "nothing"
    text = configure.text(value)
    return f"\n{text.rstrip()}" if isinstance(value, dict) else text.rstrip()

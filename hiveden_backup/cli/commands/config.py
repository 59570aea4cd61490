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
            output.say(found.fingerprint)
        return
    table = configure.show(options.config)
    if as_json:
        output.print_json(table)
    else:
        output.say_toml(configure.text(table))


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
        output.say_raw(configure.text(value))


@command("set", group=_config)
def set_value(
    key: str = typer.Argument(..., metavar="KEY", help="Such as jobs.immich.schedule.", autocompletion=completion.keys),
    value: str = typer.Argument(..., metavar="VALUE", help="A TOML value, else taken as a string."),
) -> None:
    """Set a value in the managed drop-in.

    Refused when the result would not be valid.
    """
    configure.set_value(options.config, key, value)
    output.say(f"Set {key}.")


@command("unset", group=_config)
def unset(
    key: str = typer.Argument(..., metavar="KEY", help="Such as jobs.immich.schedule.", autocompletion=completion.keys),
) -> None:
    """Take a value out of the managed drop-in again.

    What the other files say counts then. Refused when the result would not be valid.
    """
    parts, value = configure.unset(options.config, key)
    _say_in_effect(f"Unset {key}. In effect now:", value)
    if parts[0] == "jobs":
        output.say("If it tells when a job runs, change its timer: hiveden-backup schedule apply")


def _say_in_effect(said: str, value: object) -> None:
    if isinstance(value, dict):
        output.say(said)
        output.say_toml(configure.text(value))
    else:
        output.say(f"{said} {'nothing' if value is None else configure.text(value).rstrip()}")

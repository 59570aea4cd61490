"""Commands that set things up: init and config."""

from pathlib import Path

import typer

from hiveden_backup.cli import output
from hiveden_backup.cli.app import app, command, now, options

_JSON = typer.Option(False, "--json", help="Print JSON.")
_config = typer.Typer(
    name="config", help="Show and change the configuration.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(_config)


@command("init")
def init(
    directory: Path = typer.Option(..., "--directory", help="Where the backups are to be.", metavar="DIR"),
    as_json: bool = _JSON,
) -> None:
    """Create and mark a backup directory.

    A marked one is adopted. A starter configuration is written if there is none.
    """
    from hiveden_backup.jobs.setup.init import initialise

    done = initialise(directory, options.config, now())
    if as_json:
        output.print_json(
            {
                "directory": str(done.directory),
                "id": done.id,
                "created": done.created,
                "configuration": done.configuration,
            }
        )
        return
    typer.echo(f"{'Marked' if done.created else 'Adopted'} the backup directory {done.directory}.")
    if done.configuration:
        typer.echo(
            f"Wrote a starter configuration to {options.config}. Next: add a job to it, then hiveden-backup check"
        )
    elif done.other_directory:
        typer.echo(f"{options.config} names another directory ({done.other_directory}): change `directory` there.")
    if done.backups:
        typer.echo(f"It holds {output.count(done.backups, 'backup')}: hiveden-backup list")


@command("show", group=_config)
def show(as_json: bool = _JSON) -> None:
    """The effective configuration, with every default."""
    from hiveden_backup.jobs.setup import managed as configure

    table = configure.show(options.config)
    if as_json:
        output.print_json(table)
    else:
        typer.echo(configure.text(table), nl=False)


@command("get", group=_config)
def get(
    key: str = typer.Argument(..., metavar="KEY", help="Such as jobs.immich.schedule."), as_json: bool = _JSON
) -> None:
    """One effective value."""
    from hiveden_backup.jobs.setup import managed as configure

    value = configure.get(options.config, key)
    if as_json:
        output.print_json(value)
    else:
        typer.echo(configure.text(value), nl=False)


@command("set", group=_config)
def set_value(
    key: str = typer.Argument(..., metavar="KEY", help="Such as jobs.immich.schedule."),
    value: str = typer.Argument(..., metavar="VALUE", help="A TOML value, else taken as a string."),
) -> None:
    """Set a value in the managed drop-in.

    Refused when the result would not be valid.
    """
    from hiveden_backup.jobs.setup import managed as configure

    configure.set_value(options.config, key, value)
    typer.echo(f"Set {key}.")

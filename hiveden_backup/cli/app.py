"""The command line's frame: global options, errors as text and exit code, the surroundings that commands share."""

import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import ParamSpec

import typer

from hiveden_backup import __version__
from hiveden_backup.cli import completion
from hiveden_backup.cli.registry import Commands, register
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, Interrupted
from hiveden_backup.host.signals import raise_on_signals

_P = ParamSpec("_P")
_DEFAULT_CONFIG = "/etc/hiveden-backup/config.toml"
_DEFAULT_STATE = "/var/lib/hiveden-backup"

app = typer.Typer(
    name="hiveden-backup",
    cls=Commands,
    help="Back up files, Docker volumes and PostgreSQL databases, and get them back.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass(slots=True)
class Options:
    """The global options of this invocation."""

    config: Path = Path(_DEFAULT_CONFIG)
    verbose: bool = False
    quiet: bool = False


options = Options()


def state_directory() -> Path:
    """Where this program keeps its state: what systemd hands over, else the usual place."""
    return Path(os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or _DEFAULT_STATE)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"hiveden-backup {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    config: Path = typer.Option(
        _DEFAULT_CONFIG,
        "--config",
        help=f"Configuration file; $HIVEDEN_BACKUP_CONFIG, else {_DEFAULT_CONFIG}.",
        metavar="FILE",
        envvar="HIVEDEN_BACKUP_CONFIG",
        show_envvar=False,
        show_default=False,
        autocompletion=completion.files,
    ),
    verbose: bool = typer.Option(False, "--verbose", help="Say more; show tracebacks."),
    quiet: bool = typer.Option(False, "--quiet", help="Say only what went wrong."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    del version
    options.config = config
    options.verbose = verbose
    options.quiet = quiet


def command(name: str, *, group: typer.Typer | None = None) -> Callable[[Callable[_P, None]], Callable[_P, None]]:
    """Register a function as a command whose errors end it as text on stderr and the error's exit code."""

    def decorated(function: Callable[_P, None]) -> Callable[_P, None]:
        @functools.wraps(function)
        def handled(*args: _P.args, **kwargs: _P.kwargs) -> None:
            try:
                function(*args, **kwargs)
            except BackupError as error:
                report(error)
                raise typer.Exit(error.exit_code) from error

        register(name, handled, group)
        return function

    return decorated


def report(error: BackupError) -> None:
    """An error for a person: on stderr or in the journal, with a traceback only when asked for."""
    if options.verbose:
        traceback.print_exception(error)
    _complain(str(error), error.exit_code)


def _complain(text: str, exit_code: int) -> None:
    from hiveden_backup.cli.failures import complain  # noqa: PLC0415 - most commands end well, and it brings the log

    complain(text, exit_code)


def _defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What a person sees of an error that nobody foresaw; Python then ends with status 1."""
    if options.verbose:
        traceback.print_exception(kind, error, trace)
    what = BackupError(
        f"hiveden-backup has a defect: {kind.__name__}: {error}",
        "Nothing half-done is visible as a backup",
        "Run again with --verbose before the command, and report what it prints",
    )
    _complain(str(what), what.exit_code)


def run() -> None:
    """Run the command line: the process ends here, with 128 + n after a signal."""
    raise_on_signals()
    sys.excepthook = _defect
    completion.prepare()
    try:
        typer.main.get_command(app)(prog_name="hiveden-backup")  # not app(): it replaces the excepthook
    except Interrupted as interrupted:
        from hiveden_backup.cli.failures import tell_interrupted  # noqa: PLC0415 - as above

        tell_interrupted(interrupted)
        sys.exit(interrupted.exit_code)

"""How a command says why it ends: to whoever waits for its last words, and in the log."""

from hiveden_backup.cli import output
from hiveden_backup.cli.log import put
from hiveden_backup.core.errors import Interrupted
from hiveden_backup.core.events import Failed
from hiveden_backup.core.shown import printable_lines
from hiveden_backup.host.systemd import last_words
from hiveden_backup.host.systemd.journal import is_stderr


def complain(text: str, exit_code: int) -> None:
    """Say what went wrong."""
    last_words.leave(printable_lines(text))
    put(Failed(text, exit_code).entry)


def tell_interrupted(interrupted: Interrupted) -> None:
    """Say which signal ended the command."""
    said = f"Interrupted by signal {interrupted.signal_number}."
    last_words.leave(said)
    if not is_stderr():  # the journal knows: systemd told it, and so did the run
        output.say(said, err=True)

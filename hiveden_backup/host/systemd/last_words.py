"""How a command in a transient unit ended, and what it said last: two small files for whoever asks later.

The words are the command's own; the end is told by systemd, also of a command that was killed and left no words.
"""

import contextlib
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import StorageError
from hiveden_backup.core.lines import split_lines
from hiveden_backup.host.disk.durable import UnfitFileError, make_directory, read_regular, translated, write_durably

_VARIABLE = "HIVEDEN_BACKUP_LAST_WORDS"
_KEPT_FILES = 400
_MOST_BYTES = 65536
_SIGNALLED = frozenset({"killed", "dumped"})
_FACTS = "^(SERVICE_RESULT|EXIT_CODE|EXIT_STATUS)="
_AFTERWARDS = "AFTERWARDS"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit status (128 + n after a signal), systemd's word for it, and its own last words."""

    status: int
    result: str
    words: str


def leave(words: str) -> None:
    """Leave what this process says last, if whoever started it wants to know; the latest words count.

    Never an error: an act does not fail because nobody can be told of it.
    """
    file = os.environ.get(_VARIABLE)
    if file:
        with contextlib.suppress(OSError):
            write_durably(Path(file), words.encode("utf-8", "backslashreplace")[:_MOST_BYTES])


@dataclass(frozen=True, slots=True)
class LastWords:
    """The ends of commands, by the names of their runs, in a directory that only root can write to."""

    directory: Path

    def make_room(self) -> None:
        """Make the directory for those to come, and remove the oldest files in it."""
        with translated(f"writing {self.directory}", unwritable=StorageError):
            make_directory(self.directory)
            ages = []
            for file in self.directory.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    ages.append((file.lstat().st_mtime_ns, file))
            for _, file in sorted(ages)[:-_KEPT_FILES]:
                file.unlink(missing_ok=True)

    def environment(self, run: str) -> Mapping[str, str]:
        """What a command must be told so that it leaves its words."""
        return {_VARIABLE: str(self._words(run))}

    def note(self, run: str, afterwards: Sequence[str]) -> Sequence[str]:
        """The command for systemd to run when that of the run has ended. It goes on with `afterwards`.

        A reload makes systemd 252 read transient units anew, with a backslash before each $ and ; that had none.
        """
        file = shlex.quote(str(self._end(run)))
        script = f"env | grep -E '{_FACTS}' >{file}"
        if afterwards:
            script += f" || true && {shlex.join(afterwards)} || (echo {_AFTERWARDS}=failed >>{file} && false)"
        return ("/bin/sh", "-c", script)

    def ended(self, run: str) -> Ended | None:
        """How a command that has ended did; None when nothing tells."""
        facts = dict(line.partition("=")[::2] for line in split_lines(_read(self._end(run))))
        if not facts:
            return None
        status = _status(facts.get("EXIT_CODE", ""), facts.get("EXIT_STATUS", ""))
        return Ended(status or int(_AFTERWARDS in facts), facts.get("SERVICE_RESULT", ""), _read(self._words(run)))

    def _words(self, run: str) -> Path:
        return self.directory / f"{run}.words"

    def _end(self, run: str) -> Path:
        return self.directory / f"{run}.end"


def _status(code: str, status: str) -> int:
    """Systemd's EXIT_CODE and EXIT_STATUS as one number; the latter is a signal's name, or a number."""
    if code in _SIGNALLED:
        found = getattr(signal, f"SIG{status}", None)
        return 128 + found if isinstance(found, signal.Signals) else 1
    return int(status) if status.isdecimal() else 1


def _read(path: Path) -> str:
    """A small regular file's text, "" when there is none. StorageError when there is, and it cannot be read."""
    with translated(f"reading {path}", unwritable=StorageError):
        try:
            return read_regular(path, _MOST_BYTES).decode("utf-8", "replace")
        except (FileNotFoundError, UnfitFileError):
            return ""

"""Errors as a tired person should read them, each with its sysexits code.

Foreign errors are translated into these once, where `host` touches the outside (`raise ... from`).
"""

import re
from collections.abc import Iterable, Sequence

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.shown import printable

_ENDS_WITH_COMMAND = re.compile(r": (hiveden-backup|apt-get|docker|systemctl|zstd) .*$")


class BackupError(Exception):
    """What happened, why, and what to do next: one sentence each, on one line, whatever the names in it are.

    `exit_code` is the process's exit status when this ends a command (sysexits.h).
    """

    exit_code = 1

    def __init__(self, what: str, why: str = "", hint: str = "") -> None:
        self.what = what
        self.why = why
        self.hint = hint
        super().__init__(what, why, hint)

    def __str__(self) -> str:
        return " ".join(_sentence(printable(part)) for part in (self.what, self.why, self.hint) if part)


class ObstaclesError(BackupError):
    """Several things, each of which prevents what was asked for, said at once."""

    def __init__(self, what: str, errors: "Sequence[BackupError]") -> None:
        self.exit_code = common_exit_code(error.exit_code for error in errors)
        super().__init__(f"{what}:" + "".join(f"\n  {error}" for error in errors))

    def __str__(self) -> str:
        return self.what


class UsageError(BackupError):
    """The command line asks for something that makes no sense."""

    exit_code = 2


class AmbiguousError(UsageError):
    """What was asked for could mean several things, or contradicts what is there."""


class UnfitError(UsageError):
    """A value that can be read, but not used."""


class CorruptError(BackupError):
    """A backup's content is not what was written."""

    exit_code = 65


class NotFoundError(BackupError):
    """No such backup, job, database, path or container."""

    exit_code = 66


class UnreachableError(BackupError):
    """Docker, PostgreSQL or systemd does not answer, or a tool is missing."""

    exit_code = 69


class DirectoryError(BackupError):
    """The backup directory cannot be written: marker missing, full, read-only."""

    exit_code = 73


class FullError(BackupError):
    """An offsite has no room for more."""

    exit_code = 73


class StorageError(BackupError):
    """Input or output failed on a disk that should have worked."""

    exit_code = 74


class BusyError(BackupError):
    """Somebody else holds the lock."""

    exit_code = 75


class DeniedError(BackupError):
    """A permission is missing."""

    exit_code = 77


class BeyondError(DeniedError):
    """A backup names what today's job does not have, and nobody has allowed that."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a configuration file.

    `key` is dotted, as in TOML (`jobs.immich.schedule`); `file` is "" where no single file is at fault.
    """

    file: str
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.key) if part)
        text = f"{place}: {_sentence(self.message)}" if place else _sentence(self.message)
        return printable(f"{text} {_sentence(self.hint)}" if self.hint else text)


class ConfigError(BackupError):
    """The configuration is wrong; `problems` has all of them at once."""

    exit_code = 78

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(
            f"The configuration has {count}",
            "\n".join(["", *(f"  {problem}" for problem in self.problems)]),
        )

    def __str__(self) -> str:
        return f"{self.what}:{self.why}"


class ImpossibleError(BackupError):
    """The configuration is well formed, but asks for what makes no sense on this machine."""

    exit_code = 78


class DifferencesError(BackupError):
    """A database came back, and is not what was dumped. `differences` are lines, and it is kept to be looked at."""

    def __init__(self, what: str, differences: Sequence[str], hint: str) -> None:
        self.differences = tuple(differences)
        super().__init__(what, "\n".join(["", *(f"  {printable(each)}" for each in self.differences)]), hint)

    def __str__(self) -> str:
        return f"{self.what}:{self.why}\n{_sentence(self.hint)}"


class ContainerError(BackupError):
    """Docker answered, but a container did not do what was asked of it."""


class Interrupted(BaseException):
    """A signal asked the program to stop. Not an Exception, so that no `except Exception` swallows it."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        super().__init__(signal_number)

    @property
    def exit_code(self) -> int:
        """128 + n, as a shell reports it."""
        return 128 + self.signal_number


def common_exit_code(codes: Iterable[int]) -> int:
    """The exit status for several results: 0 when all are 0, the one code that all failures share, else 1."""
    failures = {code for code in codes if code}
    if not failures:
        return 0
    return failures.pop() if len(failures) == 1 else 1


def raise_all(what: str, errors: "Sequence[BackupError]") -> None:
    """Raise what was found, if anything was: one error as it is, several as an `ObstaclesError` that says `what`."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ObstaclesError(what, errors)


def _sentence(text: str) -> str:
    """With a full stop, but not one that would be taken for a part of the command that the text ends with."""
    return text if text.endswith((".", "!", "?", ":")) or _ENDS_WITH_COMMAND.search(text) else f"{text}."

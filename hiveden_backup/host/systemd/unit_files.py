"""Unit files: those that are shipped, those that a package put where systemd looks, and ours in /etc/systemd/system.

Ours are changed in two steps, so that a disk that is full is noticed before anything changed: all of them are staged
under names that systemd does not see, then each takes its place by a rename.
"""

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hiveden_backup.core.codec import LONGEST, Codec, RecordError
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import StorageError, UnreachableError
from hiveden_backup.core.schedule import units
from hiveden_backup.host.disk.durable import (
    UnfitFileError,
    fsync_directory,
    make_directory,
    read_regular,
    translated,
    write_durably,
)
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.later import Later

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = Later("hashlib")

_PACKAGED = (Path("/usr/lib/systemd/system"), Path("/usr/local/lib/systemd/system"))
_OWN = Path("/etc/systemd/system")
_SHIPPED = Path(__file__).resolve().parents[2] / "systemd"
_STAGED = ".hiveden-backup-new"
_LONGEST = 1 << 20


def shared() -> Mapping[str, str]:
    """The units for all jobs that are to be ours: none where a package has put them where systemd looks."""
    if any((folder / units.TEMPLATE).exists() for folder in _PACKAGED):
        return {}
    program = executable()
    with translated("reading the units that came with this program", unwritable=StorageError):
        shipped = {name: read_regular(_SHIPPED / name, _LONGEST, follow=True).decode() for name in units.SHIPPED}
    try:
        return {name: units.installed_text(text, program) for name, text in shipped.items()}
    except ValueError as error:
        hint = "Install it below a path without quotes, backslashes and dollar signs"
        raise UnreachableError("systemd cannot start this program", str(error), hint) from error


def executable() -> str:
    """The absolute path by which this program is started, of a link not what it leads to: that outlives an upgrade."""
    started = Path(sys.argv[0])
    own = started if started.name == units.PROGRAM else Path(sys.executable).with_name(units.PROGRAM)
    for candidate in (str(own), shutil.which(units.PROGRAM)):
        if candidate is not None and os.access(candidate, os.X_OK):
            return os.path.abspath(candidate)
    raise UnreachableError(
        f"There is no command {units.PROGRAM} that systemd could start",
        "The program runs from a place where it is not installed",
        "Install it, for instance by packaging/quickstart",
    )


def timer_since(job: str) -> datetime | None:
    """When the job's timer got the text that it has; None when it has none."""
    try:
        return datetime.fromtimestamp((_OWN / units.timer(job)).stat().st_mtime, UTC)
    except FileNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class Written:
    """What the last apply wrote: paths below the directory of units, each with the digests that are ours.

    `unfinished` are those that an apply was about to change which did not come to its end.
    """

    digests: Mapping[str, tuple[str, ...]]
    unfinished: tuple[str, ...] = ()


_RECORDS = Codec(Written)


@dataclass(frozen=True, slots=True)
class UnitFiles:
    """Our unit files, and what is remembered of them below the state directory."""

    state: Path
    directory: Path = _OWN

    # ---- what is there

    def written(self) -> Written:
        """What the last apply wrote; nothing when that is not known."""
        with translated(f"reading {self._record}", unwritable=StorageError):
            try:
                return _RECORDS.load(read_regular(self._record, LONGEST))
            except (FileNotFoundError, NotADirectoryError, RecordError):
                return Written({})

    def put_written(self, written: Written) -> None:
        """Remember what an apply writes."""
        with translated(f"writing {self._record}", unwritable=StorageError):
            make_directory(self._record.parent)
            write_durably(self._record, _RECORDS.dump(written, indent=1))

    def ours(self, written: Written) -> Mapping[str, str]:
        """The texts of the files that are ours: what an apply wrote and is still there, and what says so itself."""
        with translated(f"reading {self.directory}", unwritable=StorageError):
            candidates = {*written.digests, *(path.relative_to(self.directory).as_posix() for path in self._alike())}
            texts = {path: text for path in candidates if (text := self.text(path)) is not None}
        return {path: text for path, text in texts.items() if path in written.digests or text.startswith(units.HEADER)}

    def text(self, path: str) -> str | None:
        """A unit file's text, None when there is none. A link or a FIFO is no text of ours."""
        try:
            return read_regular(self.directory / path, _LONGEST).decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnfitFileError:
            return ""

    def _alike(self) -> Iterable[Path]:
        generated = (units.timer, units.drop_in, units.offsite_timer, units.offsite_drop_in)
        for pattern in (*units.SHIPPED, *units.COMMON_DROP_INS, *(each("*") for each in generated)):
            yield from self.directory.glob(pattern)

    @property
    def _record(self) -> Path:
        return self.state / "units.json"

    # ---- changes

    def stage(self, texts: Mapping[str, str]) -> None:
        """Write the texts beside their places; `place` puts them there."""
        with translated(f"writing {self.directory}", unwritable=StorageError):
            for path, text in texts.items():
                folder = (self.directory / path).parent
                folder.mkdir(mode=0o755, exist_ok=True)
                folder.chmod(0o755)
                descriptor = os.open(self._staged(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    os.fchmod(file.fileno(), 0o644)  # systemd gives units away to everybody; no secrets are in them
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
            failpoint("units-stage")

    def place(self, paths: Iterable[str]) -> None:
        """Put staged files in their places."""
        with translated(f"writing {self.directory}", unwritable=StorageError):
            for path in paths:
                self._staged(path).rename(self.directory / path)
                fsync_directory((self.directory / path).parent)
            fsync_directory(self.directory)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files, and the directory of a drop-in with the last one in it."""
        with translated(f"writing {self.directory}", unwritable=StorageError):
            for path in paths:
                place = self.directory / path
                with suppress(FileNotFoundError, NotADirectoryError):
                    place.unlink()
                if place.parent != self.directory:
                    with suppress(OSError):  # it has more in it, or is gone
                        place.parent.rmdir()
            fsync_directory(self.directory)

    def sweep(self) -> None:
        """Remove what an apply that was killed had staged."""
        with translated(f"writing {self.directory}", unwritable=StorageError):
            for pattern in (f".hiveden-backup*{_STAGED}", f"hiveden-backup*.service.d/.*{_STAGED}"):
                for path in self.directory.glob(pattern):
                    path.unlink(missing_ok=True)
                    if path.parent != self.directory:
                        with suppress(OSError):
                            path.parent.rmdir()

    def _staged(self, path: str) -> Path:
        place = self.directory / path
        return place.with_name(f".{place.name}{_STAGED}")


def digest(text: str) -> str:
    """What a text is known by."""
    return hashlib.sha256(text.encode()).hexdigest()

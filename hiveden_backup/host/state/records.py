"""What the state directory remembers: a record of each run, and what verify found; bounded and crash-safe."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from hiveden_backup.core.backup.seen import Seen, SeenArchives
from hiveden_backup.core.codec import LONGEST, Codec, RecordError
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import StorageError
from hiveden_backup.core.model import PruneResult, Result, RunKind, Trigger, Verdict
from hiveden_backup.core.names import backup_id, is_backup_id, newest_first
from hiveden_backup.host.disk.durable import UnfitFileError, make_directory, read_regular, translated, write_durably
from hiveden_backup.host.state.locks import ExclusiveJob

_T = TypeVar("_T")
_KEPT_RUNS = 500
_AHEAD = timedelta(minutes=1)  # records of runs within one second are named by the seconds after it


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run, in-place restore or undo, as `kind` says. `backup` is the id of what it published, or was restored.

    `invocation` is systemd's id of the unit's run, "" outside of units.
    """

    job: str
    started: datetime
    finished: datetime | None = None
    result: Result = Result.RUNNING
    exit_code: int | None = None
    error: str = ""
    backup: str | None = None
    bytes: int = 0
    downtime_seconds: float = 0.0
    prune: PruneResult = PruneResult.SKIPPED
    trigger: Trigger = Trigger.MANUAL
    warnings: tuple[str, ...] = ()
    invocation: str = ""
    kind: RunKind = RunKind.RUN


@dataclass(frozen=True, slots=True)
class Verification:
    """What verify found in a backup; `failed` are archives with a wrong digest.

    `signer` is the key whose signature fits, "" for none; `evidence` stands for what was looked at for that, "" where
    there was no signature. `archives_read` is when that one of its archives was read which was so longest ago; None
    when all were read this time.
    """

    at: datetime
    result: Verdict
    detail: str = ""
    failed: tuple[str, ...] = ()
    evidence: str = ""
    signer: str = ""
    archives_read: datetime | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a person said is meant: all `backups` there were, as they are, and that nothing is mounted at `mounts`."""

    at: datetime | None = None
    backups: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()


_RUNS = Codec(RunRecord, lacking=("invocation",), sparse=("kind",))
_VERIFICATIONS = Codec(Verification, sparse=("evidence", "signer", "archives_read"))
_ACCEPTED = Codec(Accepted)
_SEEN = Codec(SeenArchives)
_SEEN_FILE = "archives.json"


@dataclass(frozen=True, slots=True)
class Records:
    """The records below the state directory."""

    state: Path

    def begin(self, record: RunRecord) -> Path:
        """Write the record of something that begins; the path to finish it at."""
        folder = self.state / "runs" / record.job
        with translated(f"writing the run record below {folder}", unwritable=StorageError):
            make_directory(folder)
            path = _claimed(folder, record.started)
            self.write(path, record)
            for old in sorted(folder.glob("*.json"))[:-_KEPT_RUNS]:
                old.unlink(missing_ok=True)
        return path

    def write(self, path: Path, record: RunRecord) -> None:
        """Replace the record at `path`."""
        with translated(f"writing the run record {path}", unwritable=StorageError):
            write_durably(path, _RUNS.dump(record, indent=1))

    def runs(self, job: str) -> Iterator[tuple[Path, RunRecord]]:
        """The records of the job's runs, newest first; those dated in the future last.

        One that cannot be read (a torn disk) is passed over: it decides nothing.
        """
        return self.of(job, RunKind.RUN)

    def of(self, job: str, kind: RunKind) -> Iterator[tuple[Path, RunRecord]]:
        """As `runs`, those of this kind."""
        return ((path, record) for path, record in self.all(job) if record.kind is kind)

    def all(self, job: str) -> Iterator[tuple[Path, RunRecord]]:
        """As `runs`, in-place restores and undos as well."""
        folder = self.state / "runs" / job
        with suppress(FileNotFoundError):
            ids = [stem for name in os.listdir(folder) if is_backup_id(stem := name.removesuffix(".json"))]
            for stem in newest_first(ids, datetime.now(UTC) + _AHEAD):
                path = folder / f"{stem}.json"
                if (record := _read(_RUNS, path)) is not None:
                    yield path, record

    def jobs(self) -> tuple[str, ...]:
        """The jobs that have run records."""
        with suppress(FileNotFoundError):
            return tuple(sorted(os.listdir(self.state / "runs")))
        return ()

    def mark_killed(self, job: ExclusiveJob, now: datetime, current: Path | None) -> None:
        """Close records of what ended without a word: whoever else has one that is not closed had the lock."""
        for path, record in self.all(job.name):
            if record.result is Result.RUNNING and path != current:
                ended = f"The {record.kind} was killed, or the machine went down."
                self.write(path, replace(record, result=Result.KILLED, finished=now, error=ended))

    def accepted(self, job: str) -> Accepted:
        """What a person said last is meant; nothing when nobody did, or what was said cannot be read."""
        return _read(_ACCEPTED, self.state / "accepted" / f"{job}.json") or Accepted()

    def put_accepted(self, job: ExclusiveJob, accepted: Accepted) -> None:
        """Remember what a person says is meant."""
        folder = self.state / "accepted"
        with translated(f"writing what was accepted below {folder}", unwritable=StorageError):
            make_directory(folder)
            write_durably(folder / f"{job.name}.json", _ACCEPTED.dump(accepted))

    def put_verification(self, job: str, backup: str, found: Verification) -> None:
        """Remember what verify found."""
        folder = self.state / "verified" / job
        with translated(f"writing the verification record below {folder}", unwritable=StorageError):
            make_directory(folder)
            write_durably(folder / f"{backup}.json", _VERIFICATIONS.dump(found))

    def verification(self, job: str, backup: str) -> Verification | None:
        """What the last verify of a backup found; None when there was none, or its record cannot be read."""
        return _read(_VERIFICATIONS, f"{self.state}/verified/{job}/{backup}.json")  # no Path: there may be many

    def verifications(self, job: str) -> dict[str, Verification]:
        """What the last verify of each of the job's backups found, by id."""
        found: dict[str, Verification] = {}
        with suppress(FileNotFoundError):
            for name in os.listdir(self.state / "verified" / job):
                backup = name.removesuffix(".json")
                if is_backup_id(backup) and (verification := self.verification(job, backup)) is not None:
                    found[backup] = verification
        return found

    def failed_archives(self, job: str) -> frozenset[str]:
        """Archives whose digest failed in the last verify of some backup of the job."""
        return frozenset(name for found in self.verifications(job).values() for name in found.failed)

    def forget(self, job: str, backups: Collection[str], archives: Collection[str]) -> None:
        """Drop what is remembered of others than these `backups`; but what is damaged of `archives`, which are there.

        Backups that were not verified may name them, too.
        """
        for backup, found in self.verifications(job).items():
            if backup not in backups and not set(found.failed).intersection(archives):
                (self.state / "verified" / job / f"{backup}.json").unlink(missing_ok=True)
        seen = self.seen(job)
        if seen.archives.keys() - {*archives}:
            self._put_seen(job, seen.only({*archives}))

    def seen(self, job: str) -> SeenArchives:
        """The job's archives that a verify has read whole; none where that cannot be read."""
        return _read(_SEEN, self.state / "verified" / job / _SEEN_FILE) or SeenArchives()

    def renew_seen(self, job: str, seen: Mapping[str, Seen], damaged: Collection[str]) -> None:
        """Remember archives that were read whole now, beside what others that verify have remembered meanwhile."""
        self._put_seen(job, self.seen(job).renewed(seen, damaged))

    def _put_seen(self, job: str, seen: SeenArchives) -> None:
        folder = self.state / "verified" / job
        with translated(f"writing which archives were verified below {folder}", unwritable=StorageError):
            make_directory(folder)
            write_durably(folder / _SEEN_FILE, _SEEN.dump(seen))


def _claimed(folder: Path, moment: datetime) -> Path:
    """A new, empty file named by `moment` or, where another run has that name, by the next second that is free."""
    while True:
        path = folder / f"{backup_id(moment)}.json"
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            moment += timedelta(seconds=1)
        else:
            return path


def _read(codec: Codec[_T], path: str | Path) -> _T | None:
    """The record at `path`; None when there is none, or it cannot be read."""
    try:
        return codec.load(read_regular(path, LONGEST))
    except (FileNotFoundError, UnfitFileError, RecordError):
        return None

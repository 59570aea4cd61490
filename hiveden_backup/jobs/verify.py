"""Does a backup hold what it says? Digests of every file, every archive decoded and held against the index."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self

from hiveden_backup.core.errors import BackupError, CorruptError
from hiveden_backup.core.listing import Member, escape, is_named, members
from hiveden_backup.core.model import Archive, Artifact, ArtifactType, Manifest
from hiveden_backup.core.selection import checked
from hiveden_backup.host import tar
from hiveden_backup.host.directory import INDEX, SUMS, BackupDirectory, read_archive_names
from hiveden_backup.host.files import translated
from hiveden_backup.host.records import Records, Verification
from hiveden_backup.jobs.catalog import Backup, show_path
from hiveden_backup.jobs.passes import records

Progress = Callable[[int], None]
_HINT = "Verify the other backups of the job; the next run takes again what this one lost"


@dataclass(slots=True)
class Verifier:
    """Verifies backups one after another; what several share (archives) is read once."""

    directory: BackupDirectory
    records: Records
    progress: Progress
    decode_dump: Callable[[Path, Artifact], None]
    _digests: dict[tuple[str, str], CorruptError | None] = field(default_factory=dict)
    _listings: dict[tuple[str, str], Path] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def verify(self, backup: Backup, now: datetime) -> None:
        """CorruptError that names the file when `backup` is not whole; remembered either way.

        UnreachableError when a dump cannot be decoded here, which says nothing about the backup.
        """
        failed: list[str] = []
        try:
            self._verify(backup, failed)
        except CorruptError as error:
            self.records.put_verification(
                backup.job, backup.id, Verification(now, "corrupt", str(error), tuple(sorted(failed)))
            )
            raise
        self.records.put_verification(backup.job, backup.id, Verification(now, "ok"))

    def _verify(self, backup: Backup, failed: list[str]) -> None:
        manifest = self.directory.manifest(backup.job, backup.id)
        check_sums(self.directory, backup)
        home = self.directory.job_path(backup.job)
        first: CorruptError | None = None
        for archive in manifest.archives:
            error = self._digest(backup.job, home, archive)
            if error is not None:
                failed.append(archive.path)
                first = first or error
        if first is not None:
            raise first
        path = self.directory.backup_path(backup.job, backup.id)
        for artifact in manifest.artifacts:
            if artifact.type is ArtifactType.APPLICATION:
                self._files(backup, manifest, path, artifact)
            else:
                self.decode_dump(path / artifact.files[0].file, artifact)
        for compressed in path.glob("globals.*.zst"):
            with tar.decompressed(compressed) as stream:
                for _ in tar.chunks(stream):
                    pass

    def _digest(self, job: str, home: Path, archive: Archive) -> CorruptError | None:
        key = (job, archive.path)
        if key not in self._digests:
            try:
                check_archive_digest(home, archive, self.progress)
                self._digests[key] = None
            except CorruptError as error:
                self._digests[key] = error
        return self._digests[key]

    def _files(self, backup: Backup, manifest: Manifest, path: Path, artifact: Artifact) -> None:
        """Every live path of the index must be a member of its archive."""
        names = read_archive_names(path)
        if names != tuple(archive.path for archive in manifest.archives):
            raise CorruptError(f"{path / 'files.archives'} does not agree with the manifest", "", _HINT)
        with ExitStack() as stack:
            cursors = [
                _Cursor(stack.enter_context(self._listing(backup.job, archive).open("rb")))
                for archive in manifest.archives
            ]
            entries = 0
            try:
                with records(path / INDEX) as lines:
                    for record in checked(lines, len(names)):
                        entries += 1
                        if not cursors[record.archive].reaches(escape(record.path)):
                            raise CorruptError(
                                f"{self.directory.job_path(backup.job) / names[record.archive]} lacks a file",
                                f"The index of {backup} says that {show_path(record.path)} is in it",
                                _HINT,
                            )
            except ValueError as error:
                raise CorruptError(f"{path / INDEX} is damaged", str(error), _HINT) from error
        if entries != artifact.entries:
            raise CorruptError(f"{path / INDEX} has {entries} paths, the manifest says {artifact.entries}", "", _HINT)

    def _listing(self, job: str, archive: Archive) -> Path:
        """An archive's members, a line each; decoding all of it is part of the proof."""
        key = (job, archive.path)
        if key not in self._listings:
            file = self._stack.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115 - the stack closes it
            for member in members(tar.members(self.directory.job_path(job) / archive.path)):
                file.write(member.shown + member.text + b"\n")
            file.flush()
            self._listings[key] = Path(file.name)
        return self._listings[key]


class _Cursor:
    """Walks an archive's member names, which are in the index's order."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._members: Iterator[Member] = (Member(line[:1], b"", b"", line[1:-1]) for line in lines)

    def reaches(self, name: bytes) -> bool:
        return any(is_named(member, name) for member in self._members)


def check_sums(directory: BackupDirectory, backup: Backup) -> None:
    """CorruptError when a file of the backup is missing, or not what SHA256SUMS says."""
    path = directory.backup_path(backup.job, backup.id)
    sums = path / SUMS
    try:
        lines = sums.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ValueError) as error:
        raise CorruptError(f"{sums} is missing or damaged", str(error), _HINT) from error
    listed = set()
    for line in lines:
        digest, _, name = line.partition("  ")
        if not name or "/" in name:
            raise CorruptError(f"{sums} is damaged", f"It has the line {line!r}", _HINT)
        listed.add(name)
        _check_digest(path / name, digest, lambda _: None)
    unlisted = sorted(entry.name for entry in path.iterdir() if entry.name not in listed | {SUMS})
    if unlisted or not listed:
        raise CorruptError(f"{sums} does not cover {unlisted[0] if unlisted else 'anything'}", "", _HINT)


def check_archive_digest(home: Path, archive: Archive, progress: Progress) -> None:
    """CorruptError when an archive below the job's directory is missing or not what the manifest says."""
    _check_digest(home / archive.path, archive.sha256, progress)


def _check_digest(path: Path, expected: str, progress: Progress) -> None:
    digest = hashlib.sha256()
    try:
        with translated(f"reading {path}"), path.open("rb") as file:
            while chunk := file.read(tar.CHUNK):
                digest.update(chunk)
                progress(len(chunk))
    except BackupError as error:
        if not path.exists():
            raise CorruptError(f"{path} is missing", "", _HINT) from error
        raise
    if digest.hexdigest() != expected:
        raise CorruptError(f"{path} is damaged", "Its SHA-256 is not what was written", _HINT)

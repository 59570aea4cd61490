"""Does a backup hold what it says? Digests of every file, every archive decoded and held against the index."""

import hashlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Self

from hiveden_backup.core.backup.index import Record
from hiveden_backup.core.backup.layout import (
    ARCHIVE_NAMES,
    INDEX,
    LONGEST_OTHER,
    LONGEST_SUMS,
    SIGNATURE,
    SUMS,
    is_globals,
    parse_sums,
)
from hiveden_backup.core.backup.scope import Scope
from hiveden_backup.core.backup.selection import checked
from hiveden_backup.core.backup.signature import Signature, Signed
from hiveden_backup.core.backup.stub import stands_for
from hiveden_backup.core.backup.tar_listing import Contents, Metadata, escape, members
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.errors import BackupError, CorruptError, DeniedError, NotFoundError, UnreachableError
from hiveden_backup.core.model import Archive, Artifact, ArtifactType, Manifest, Source, SourceKind, Verdict
from hiveden_backup.core.postgres.values import Endpoint, choose_restore_tool, major_of
from hiveden_backup.host.disk import stream, tar
from hiveden_backup.host.disk.durable import pieces, read_regular
from hiveden_backup.host.disk.index_files import records
from hiveden_backup.host.disk.repository import BackupDirectory, read_archive_names, stored_file, unread
from hiveden_backup.host.disk.spool import temporary_spool
from hiveden_backup.host.docker.engine import connect
from hiveden_backup.host.postgres.decode import decode
from hiveden_backup.host.postgres.tools import find_tools, inside_tools
from hiveden_backup.host.state.locks import LockedJob, job_lock
from hiveden_backup.host.state.records import Verification
from hiveden_backup.jobs.backups.adoption import adopted
from hiveden_backup.jobs.backups.catalog import Backup, show_path
from hiveden_backup.jobs.backups.reader import Reader
from hiveden_backup.jobs.backups.signing import Proof, forged, judged, proof_of, signatures
from hiveden_backup.jobs.backups.whereabouts import left_out
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.services.servers import server_container

_HINT = "Verify the other backups of the job; the next run takes again what this one lost"
_TOGETHER = 16  # backups whose archives are read at once: their listings are there at one time


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found: whose the backup is, and all that is wrong with it, or kept it from being looked at.

    `archives_read` is when that one of its archives was read which was so longest ago; None when that is not proven.
    `whole` is whether that was now, and its index held against all of them. `away` of them lie at an offsite alone, and
    were not read: that is not remembered, as it says nothing about them.
    """

    backup: Backup
    signature: Signature
    errors: tuple[BackupError, ...] = ()
    archives_read: datetime | None = None
    whole: bool = True
    away: int = 0

    @property
    def verdict(self) -> Verdict:
        """All of it in a word."""
        if not self.errors:
            return Verdict.OK
        return Verdict.CORRUPT if isinstance(self.errors[0], CorruptError) else Verdict.INCONCLUSIVE


@dataclass(slots=True)
class Verifier:
    """Verifies backups; an archive that several of them need is read once.

    With `changed`, archives that an earlier verify has read are not read again, as long as their files look as they
    did: of these, a backup's index is not held against what is in them.
    """

    installation: Installation
    changed: bool = False
    _stack: ExitStack = field(default_factory=ExitStack)
    _directory: BackupDirectory = field(init=False)
    reader: Reader = field(init=False)

    def __enter__(self) -> Self:
        self._directory = self.installation.directory
        spool = self._stack.enter_context(temporary_spool())
        self.reader = Reader(self.installation, self._directory, spool, self.changed)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def verify(self, backups: Sequence[Backup]) -> Iterator[Verified]:
        """What is found in each of them, one after another; remembered, unless it says nothing about the backup here.

        So it is when a dump cannot be decoded here, or ssh-keygen is not installed. An old backup that is whole is
        signed then.
        """
        self.reader.expect(backups)
        for job, several in groupby(backups, lambda backup: backup.job):
            left = deque(several)
            while left:
                together = [left.popleft() for _ in range(min(_TOGETHER, len(left)))]
                with suppress(BackupError):  # each of them will meet it, and tell
                    self._read_ahead(job, together)
                yield from map(self._one, together)

    def _read_ahead(self, job: str, backups: Sequence[Backup]) -> None:
        """Read the archives of several at once: most have only a few that the others have not."""
        archives: list[Archive] = []
        with job_lock(self.installation.state, job, shared=True) as locked:
            for backup in backups:
                with suppress(BackupError):
                    archives.extend(self._directory.manifest(job, backup.id).archives)
            self.reader.read(locked, archives)

    def _one(self, backup: Backup) -> Verified:
        try:
            with job_lock(self.installation.state, backup.job, shared=True) as job:
                looked = self._remember(job, backup)
        except BackupError as error:
            return Verified(backup, self.signature(backup), (error,))
        finally:
            self.reader.done(backup)
        if looked.errors:
            return Verified(backup, self.signature(backup), tuple(looked.errors), away=looked.away)
        if looked.away:
            return Verified(backup, looked.signature, (), None, whole=False, away=looked.away)
        read = looked.archives_read or self.installation.now()
        whole = looked.archives_read is None
        here = self.installation.elsewhere is None
        if whole and here and adopted(self.installation, self._directory, backup.job, backup.id, looked.sums):
            return Verified(backup, self._signature(backup, looked.sums)[1], (), read)
        return Verified(backup, looked.signature, (), read, whole)

    def signature(self, backup: Backup) -> Signature:
        """Whose a backup is, as far as its last verification told."""
        found = self.installation.records.verification(backup.job, backup.id)
        return signatures(self.installation, self._directory, backup.job).of(backup.id, found)

    def _remember(self, job: LockedJob, backup: Backup) -> "_Looked":
        records, now, looked = self.installation.records, self.installation.now(), _Looked()
        try:
            self._verify(job, backup, looked)
        except BackupError as error:
            looked.errors.append(error)
        looked.errors.sort(key=lambda error: not isinstance(error, CorruptError))
        if self.installation.elsewhere is not None:
            return looked  # of what is here, that says nothing
        if not looked.errors and not looked.away:
            records.put_verification(job.name, backup.id, looked.record(now, Verdict.OK))
        elif looked.errors and isinstance(looked.errors[0], CorruptError):
            found = looked.record(now, Verdict.CORRUPT, str(looked.errors[0]))
            records.put_verification(job.name, backup.id, found)
        return looked

    def _signature(self, backup: Backup, sums: bytes) -> tuple[Proof, Signature]:
        proof = proof_of(self._directory.backup_path(backup.job, backup.id), sums)
        return proof, judged(self.installation, self._directory, backup.job, backup.id, proof)

    def _verify(self, job: LockedJob, backup: Backup, looked: "_Looked") -> None:
        """Note the archives that are not what they were. All are read, whatever else is wrong."""
        manifest = self._directory.manifest(backup.job, backup.id)
        try:
            looked.left_out = left_out(self.installation, manifest)
            looked.sums = check_sums(self._directory, backup, manifest, left_out=looked.left_out)
            looked.proof, looked.signature = self._signature(backup, looked.sums)
            if looked.signature.state is Signed.FORGED:
                looked.errors.append(forged(str(backup), looked.signature))
        except CorruptError as error:
            looked.errors.append(error)
        self.reader.read(job, manifest.archives)
        for archive in manifest.archives:
            reading = self.reader.of(backup.job, archive)
            if reading.error is not None:
                looked.errors.append(reading.error)
                looked.failed.update([archive.path] if isinstance(reading.error, CorruptError) else [])
            elif reading.away:
                looked.away += 1
            elif reading.listing is None:
                looked.archives_read = min(reading.at, looked.archives_read or reading.at)
        if not looked.errors:
            self._decode(backup, manifest, looked)

    def _decode(self, backup: Backup, manifest: Manifest, looked: "_Looked") -> None:
        away = looked.left_out if self.installation.elsewhere is None else ()
        path = self._directory.backup_path(backup.job, backup.id)
        for artifact in manifest.artifacts:
            if artifact.type is ArtifactType.APPLICATION:
                self._files(backup, manifest, artifact, looked.failed)
            elif artifact.files[0].file in away:
                looked.away += 1
            else:
                with dump_at_hand(self.installation, backup, artifact) as dump:
                    decode_dump(self.installation.docker, dump, self._as_configured(backup.job, artifact))
        for entry in path.iterdir():
            if is_globals(entry.name):
                with stream.decompressed(entry) as content:
                    for _ in stream.chunks(content):
                        pass

    def _as_configured(self, job: str, artifact: Artifact) -> Artifact:
        """The artifact from where today's job has it: no container runs anything because a manifest names it."""
        source = Scope(self.installation.config.jobs.get(job)).source(artifact.server)
        container = source.container if source is not None else None
        return replace(artifact, sources=(Source(SourceKind.CONTAINER, container),) if container is not None else ())

    def _files(self, backup: Backup, manifest: Manifest, artifact: Artifact, failed: set[str]) -> None:
        """Every live path of the index must be in its archive, as the index has it."""
        path = self._directory.backup_path(backup.job, backup.id)
        names = read_archive_names(path)
        if names != tuple(archive.path for archive in manifest.archives):
            raise CorruptError(f"{path / ARCHIVE_NAMES} does not agree with the manifest", "", _HINT)
        entries = 0
        readings = [self.reader.of(backup.job, archive) for archive in manifest.archives]
        cursors = [_Cursor(tar.lines_of(each.listing)) if each.listing is not None else None for each in readings]
        try:
            with records(path / INDEX, artifact.entries) as lines:
                for record in checked(lines, len(names)):
                    entries += 1
                    cursor = cursors[record.archive]
                    if cursor is not None and not cursor.reaches(record):
                        name = names[record.archive]
                        failed.add(name)
                        raise CorruptError(
                            f"{self._directory.job_path(backup.job) / name} is not what {backup} needs",
                            f"It does not have {show_path(record.path)} as the index says",
                            _HINT,
                        )
        except ValueError as error:
            raise CorruptError(f"{path / INDEX} is damaged", str(error), _HINT) from error
        if entries != artifact.entries:
            raise CorruptError(f"{path / INDEX} has {entries} paths, the manifest says {artifact.entries}", "", _HINT)


@dataclass(slots=True)
class _Looked:
    """What a verification came across: what is wrong, archives that `failed`, and whose the backup is.

    `archives_read` is of those that were not read this time. `away` is how many are not on this machine, `left_out`
    are files that are not in the backup directory.
    """

    errors: list[BackupError] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    archives_read: datetime | None = None
    away: int = 0
    left_out: Collection[str] = ()
    sums: bytes = b""
    proof: Proof | None = None
    signature: Signature = Signature(Signed.UNPROVEN)

    def record(self, now: datetime, result: Verdict, detail: str = "") -> Verification:
        """What is remembered of it."""
        evidence, signer = ("", "") if self.proof is None else (self.proof.evidence, self.proof.signer or "")
        read = self.archives_read if result is Verdict.OK else None
        return Verification(now, result, detail, tuple(sorted(self.failed)), evidence, signer, read)


class _Cursor:
    """Walks an archive's listing, which is in the index's order."""

    def __init__(self, listing: Iterable[bytes]) -> None:
        self._members = members(listing)
        self._contents = Contents()

    def reaches(self, record: Record) -> bool:
        """Whether the archive has the path of `record`, and what it says of it."""
        name = escape(record.path)
        expected = Metadata(
            b"%o" % record.mode, b"%d" % record.uid, b"%d" % record.gid, b"%d" % record.size, b"%d" % record.mtime_ns
        )
        for member in self._members:
            if member.name == name:
                found = self._contents.held(
                    member,
                    expected,
                    kind=record.type.encode(),
                    linked=record.nlink > 1,
                    inode=record.inode,
                )
                return found == expected
        return False


def check_sums(
    directory: BackupDirectory,
    backup: Backup,
    manifest: Manifest,
    signed: bytes | None = None,
    *,
    only: Collection[str] | None = None,
    left_out: Collection[str] = (),
) -> bytes:
    """The content of SHA256SUMS.

    CorruptError when a file of the backup (with `only`, one of these) is missing, or not what that and the manifest
    say; or when it is not what was `signed`, where that is known: somebody has put another one in its place meanwhile.
    What is `left_out` is looked at when it comes to hand.
    """
    path = directory.backup_path(backup.job, backup.id)
    sums = path / SUMS
    try:
        content = read_regular(sums, LONGEST_SUMS)
        listed = parse_sums(content)
    except (FileNotFoundError, ValueError) as error:
        raise CorruptError(f"{sums} is missing or damaged", str(error), _HINT) from error
    except OSError as error:
        raise unread(sums, error) from error
    if signed is not None and content != signed:
        raise CorruptError(f"{sums} is another one than a moment ago", "", _HINT)
    sizes = {file.file: file.bytes for artifact in manifest.artifacts for file in artifact.files}
    for name, digest in listed.items():
        if name not in left_out and (only is None or name in only):
            _check_digest(path / name, sizes.get(name), digest)
    if only is not None and not listed.keys() >= set(only):
        raise CorruptError(f"{sums} does not cover {min(set(only) - listed.keys())}", "", _HINT)
    covered = {*listed, SUMS, SIGNATURE}
    unlisted = sorted(entry.name for entry in path.iterdir() if stands_for(entry.name) not in covered)
    if unlisted or not listed:
        raise CorruptError(f"{sums} does not cover {unlisted[0] if unlisted else 'anything'}", "", _HINT)
    return content


def _check_digest(path: Path, size: int | None, expected: str) -> None:
    digest = hashlib.sha256()
    with stored_file(path, size, most=None if size is not None else LONGEST_OTHER) as file:
        try:
            for piece in pieces(file):
                digest.update(piece)
        except OSError as error:
            raise unread(path, error) from error
    if digest.hexdigest() != expected:
        raise CorruptError(f"{path} is damaged", "Its SHA-256 is not what was written", _HINT)


@contextmanager
def dump_at_hand(installation: Installation, backup: Backup, artifact: Artifact) -> Iterator[Path]:
    """Where the dump of a database lies while the block lasts."""
    dump = artifact.files[0]
    with installation.at_hand(backup.job, f"{backup.id}/{dump.file}", dump) as path:
        yield path


def decode_dump(docker: str | None, path: Path, artifact: Artifact) -> None:
    """Decode a whole dump, with the host's pg_restore or else with that of the container that it came out of.

    `docker` is the configured address of the Engine. CorruptError names the dump; UnreachableError when neither can.
    """
    if artifact.database is None:
        raise NotFoundError(f"{path} is no dump of a database")
    dumped = major_of(artifact.database.server_version)
    try:
        tool = choose_restore_tool(dumped, find_tools())
    except UnreachableError:
        if not _decoded_inside(docker, path, artifact, dumped):
            raise
    else:
        decode(path, tool)


def _decoded_inside(address: str | None, path: Path, artifact: Artifact, dumped: int) -> bool:
    """Whether a container has read its own dump; not when it is not there, or has no pg_restore that can."""
    name = next((source.name for source in artifact.sources if source.kind is SourceKind.CONTAINER), "")
    try:
        with connect(address) if name else nullcontext() as docker:
            container = docker.container(name) if docker is not None else None
            if docker is None or container is None or not container.running:
                return False
            door = server_container(docker, container).door
            tool = inside_tools(Endpoint(name, {}, door=door))
            if tool is None or tool.major < dumped:
                return False
            decode(path, tool, door)
    except (NotFoundError, UnreachableError, DeniedError):
        return False
    return True

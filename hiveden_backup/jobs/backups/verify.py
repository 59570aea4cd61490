"""Does a backup hold what it says? Digests of every file, every archive decoded and held against the index."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import IO, Self

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
from hiveden_backup.core.backup.tar_listing import Contents, Metadata, escape, members
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.errors import CorruptError, DeniedError, NotFoundError, StorageError, UnreachableError
from hiveden_backup.core.model import Archive, Artifact, ArtifactType, Manifest, Source, SourceKind, Verdict
from hiveden_backup.core.postgres.values import Endpoint, choose_restore_tool, major_of
from hiveden_backup.core.progress import Advance
from hiveden_backup.host.disk import stream, tar
from hiveden_backup.host.disk.durable import opened, pieces, read_regular, translated
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
from hiveden_backup.jobs.backups.signing import Proof, forged, judged, proof_of, signatures
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.services.servers import server_container

_HINT = "Verify the other backups of the job; the next run takes again what this one lost"


@dataclass(slots=True)
class Verifier:
    """Verifies backups one after another; what several share (archives) is read once."""

    installation: Installation
    _digests: dict[tuple[str, Archive], CorruptError | None] = field(default_factory=dict)
    _listings: dict[tuple[str, str], Path] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _spool: Path = Path()
    _directory: BackupDirectory = field(init=False)

    def __enter__(self) -> Self:
        self._directory = self.installation.directory
        self._spool = self._stack.enter_context(temporary_spool())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def verify(self, backup: Backup) -> Signature:
        """Whose `backup` is, which is whole. CorruptError that names the file when it is not; remembered either way.

        An old one is signed then. UnreachableError when a dump cannot be decoded here, or ssh-keygen is not installed,
        which says nothing about the backup.
        """
        with job_lock(self.installation.state, backup.job, shared=True) as job:
            looked = self._remember(job, backup)
        if adopted(self.installation, self._directory, backup.job, backup.id, looked.sums):
            return self._signature(backup, looked.sums)[1]
        return looked.signature

    def signature(self, backup: Backup) -> Signature:
        """Whose a backup is, as far as its last verification told."""
        found = self.installation.records.verification(backup.job, backup.id)
        return signatures(self.installation, self._directory, backup.job).of(backup.id, found)

    def _remember(self, job: LockedJob, backup: Backup) -> "_Looked":
        records, now, looked = self.installation.records, self.installation.now(), _Looked()
        try:
            self._verify(backup, looked)
        except CorruptError as error:
            found = looked.record(now, Verdict.CORRUPT, str(error))
            records.put_verification(job.name, backup.id, found)
            raise
        records.put_verification(job.name, backup.id, looked.record(now, Verdict.OK))
        return looked

    def _signature(self, backup: Backup, sums: bytes) -> tuple[Proof, Signature]:
        proof = proof_of(self._directory.backup_path(backup.job, backup.id), sums)
        return proof, judged(self.installation, self._directory, backup.job, backup.id, proof)

    def _verify(self, backup: Backup, looked: "_Looked") -> None:
        """Note the archives that are not what they were. All are read, whatever else is wrong."""
        manifest = self._directory.manifest(backup.job, backup.id)
        errors: list[CorruptError] = []
        try:
            looked.sums = check_sums(self._directory, backup, manifest)
            looked.proof, looked.signature = self._signature(backup, looked.sums)
            if looked.signature.state is Signed.FORGED:
                errors.append(forged(str(backup), looked.signature))
        except CorruptError as error:
            errors.append(error)
        for archive in manifest.archives:
            damage = self._digest(backup.job, archive)
            if damage is not None:
                errors.append(damage)
                looked.failed.add(archive.path)
        if errors:
            raise errors[0]
        self._decode(backup, manifest, looked.failed)

    def _decode(self, backup: Backup, manifest: Manifest, failed: set[str]) -> None:
        path = self._directory.backup_path(backup.job, backup.id)
        for artifact in manifest.artifacts:
            if artifact.type is ArtifactType.APPLICATION:
                self._files(backup, manifest, artifact, failed)
            else:
                dump = path / artifact.files[0].file
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

    def _digest(self, job: str, archive: Archive) -> CorruptError | None:
        key = job, archive
        if key not in self._digests:
            try:
                check_archive_digest(self._directory.job_path(job), archive, self.installation.progress.advance)
                self._digests[key] = None
            except CorruptError as error:
                self._digests[key] = error
        return self._digests[key]

    def _files(self, backup: Backup, manifest: Manifest, artifact: Artifact, failed: set[str]) -> None:
        """Every live path of the index must be in its archive, as the index has it."""
        path = self._directory.backup_path(backup.job, backup.id)
        names = read_archive_names(path)
        if names != tuple(archive.path for archive in manifest.archives):
            raise CorruptError(f"{path / ARCHIVE_NAMES} does not agree with the manifest", "", _HINT)
        entries = 0
        with ExitStack() as stack:
            cursors = [_Cursor(lines) for lines in self._opened(stack, backup.job, manifest.archives, failed)]
            try:
                with records(path / INDEX, artifact.entries) as lines:
                    for record in checked(lines, len(names)):
                        entries += 1
                        if not cursors[record.archive].reaches(record):
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

    def _opened(self, stack: ExitStack, job: str, archives: Sequence[Archive], failed: set[str]) -> Iterator[IO[bytes]]:
        """The archives' listings."""
        for archive in archives:
            try:
                yield stack.enter_context(opened(self._listing(job, archive)))
            except CorruptError:
                failed.add(archive.path)
                raise

    def _listing(self, job: str, archive: Archive) -> Path:
        """An archive's members, a line each; decoding all of it is part of the proof."""
        key = job, archive.path
        if key not in self._listings:
            place = self._spool / f"{len(self._listings)}.listing"
            try:
                with translated(f"writing the list {place}", unwritable=StorageError):
                    tar.list_members(self._directory.job_path(job) / archive.path, archive.bytes, place)
            except BaseException:
                place.unlink(missing_ok=True)
                raise
            self._listings[key] = place
        return self._listings[key]


@dataclass(slots=True)
class _Looked:
    """What a verification came across: archives that `failed`, and whose the backup is."""

    failed: set[str] = field(default_factory=set)
    sums: bytes = b""
    proof: Proof | None = None
    signature: Signature = Signature(Signed.UNPROVEN)

    def record(self, now: datetime, result: Verdict, detail: str = "") -> Verification:
        """What is remembered of it."""
        evidence, signer = ("", "") if self.proof is None else (self.proof.evidence, self.proof.signer or "")
        return Verification(now, result, detail, tuple(sorted(self.failed)), evidence, signer)


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


def check_sums(directory: BackupDirectory, backup: Backup, manifest: Manifest, signed: bytes | None = None) -> bytes:
    """The content of SHA256SUMS.

    CorruptError when a file of the backup is missing, or not what that and the manifest say; or when it is not what was
    `signed`, where that is known: somebody has put another one in its place meanwhile.
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
        _check_digest(path / name, sizes.get(name), digest, lambda _: None)
    unlisted = sorted(entry.name for entry in path.iterdir() if entry.name not in {*listed, SUMS, SIGNATURE})
    if unlisted or not listed:
        raise CorruptError(f"{sums} does not cover {unlisted[0] if unlisted else 'anything'}", "", _HINT)
    return content


def check_archive_digest(home: Path, archive: Archive, progress: Advance) -> None:
    """CorruptError when an archive below the job's directory is missing or not what the manifest says."""
    _check_digest(home / archive.path, archive.bytes, archive.sha256, progress)


def _check_digest(path: Path, size: int | None, expected: str, progress: Advance) -> None:
    digest = hashlib.sha256()
    with stored_file(path, size, most=None if size is not None else LONGEST_OTHER) as file:
        try:
            for piece in pieces(file):
                digest.update(piece)
                progress(len(piece))
        except OSError as error:
            raise unread(path, error) from error
    if digest.hexdigest() != expected:
        raise CorruptError(f"{path} is damaged", "Its SHA-256 is not what was written", _HINT)


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

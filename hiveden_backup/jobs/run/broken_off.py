"""A pass that was broken off: what it had archived is not lost, but joins the checkpoint that the next run starts from.

The working lists of a pass of several archives lie in the job's spool, durable, beside what says which archives are
complete. They go when the pass is concluded.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from hiveden_backup.core.backup.layout import INDEX, incoming_checkpoint
from hiveden_backup.core.codec import LONGEST, Codec, RecordError
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import StorageError
from hiveden_backup.core.model import Archive
from hiveden_backup.host.disk.archives import missing_archives
from hiveden_backup.host.disk.durable import (
    fsync_directory,
    fsync_file,
    read_regular,
    translated,
    write_durably,
)
from hiveden_backup.host.disk.name_lists import NameLists
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.state.key import this_key
from hiveden_backup.host.state.locks import ExclusiveJob
from hiveden_backup.jobs.backups.ownership import OwnJob, claimed
from hiveden_backup.jobs.backups.whereabouts import whereabouts
from hiveden_backup.jobs.installation import BROKEN_OFF, Installation
from hiveden_backup.jobs.run.checkpoint import kept, put_checkpoint
from hiveden_backup.jobs.run.concluding import Made, write_index
from hiveden_backup.jobs.run.passes import State
from hiveden_backup.jobs.run.taking import Part, Selected

_DONE = "done-"
_LOST = "What an earlier run had archived is archived again: its lists in the spool are damaged ({})"


@dataclass(frozen=True, slots=True)
class _Facts:
    """A pass of the run that makes `backup`: the `name` of its lists, and what `Made` says of what it builds upon."""

    backup: str
    directory: str
    name: str
    taken_ns: int
    archives: tuple[Archive, ...]
    live: tuple[int, ...]
    count: int


@dataclass(frozen=True, slots=True)
class _Done:
    """An archive of it that is complete, as `Part` has it, and where backups name it."""

    number: int
    archive: Archive
    changed: tuple[str, ...]
    moved: tuple[str, ...]


_FACTS = Codec(_Facts)
_DONES = Codec(_Done)


class Remembered:
    """Remembers, durably, how far the pass of a run has come. `spool` is the job's."""

    def __init__(self, directory: BackupDirectory, spool: Path, backup: str) -> None:
        self._directory = directory
        self._spool = spool
        self._backup = backup
        self._begun = False

    def add(self, selected: Selected, part: Part) -> None:
        """One more archive is complete, fsynced, and where backups name it."""
        with translated(f"writing the spool {self._spool}", unwritable=StorageError):
            if not self._begun:
                self._begin(selected)
            done = _Done(part.number, part.archive, part.changed, tuple(map(os.fsdecode, sorted(part.moved))))
            fsync_file(selected.lists.listing(part.number))
            write_durably(self._spool / f"{_DONE}{part.number:04}", _DONES.dump(done))

    def _begin(self, selected: Selected) -> None:
        look = selected.look
        live = tuple(selected.extent.live[b"%d" % number] for number in range(len(look.base.archives)))
        facts = _Facts(
            self._backup,
            self._directory.id,
            selected.lists.name,
            look.taken_ns,
            look.base.archives,
            live,
            selected.archives,
        )
        selected.lists.make_durable(selected.archives)
        write_durably(self._spool / BROKEN_OFF, _FACTS.dump(facts))
        self._begun = True

    def forget(self) -> None:
        """The pass is concluded, and what it made is in a checkpoint or a backup."""
        if self._begun:
            _forget(self._spool)
            self._begun = False


def begun(installation: Installation, directory: BackupDirectory, job: str) -> tuple[Archive, ...]:
    """What this host has archived for a backup of a job that is not there yet, as far as it is complete.

    It is of a pass that goes on, or was broken off, and of the checkpoint. Look for it before you look for backups:
    what becomes part of one meanwhile is seen twice then, else not at all.
    """
    found = list[Archive]()
    with suppress(OSError, RecordError):
        facts = _FACTS.load(read_regular(installation.broken_off(job), LONGEST))
        if facts.directory == directory.id:
            found += [each.archive for each in _done(installation.spool(job))]
    found += kept(installation, directory, job)
    return tuple({each.path: each for each in found}.values())


def begun_here(installation: Installation, directory: BackupDirectory, job: str) -> tuple[Archive, ...]:
    """Those of it that have not left this machine."""
    home = directory.job_path(job)
    return tuple(each for each in begun(installation, directory, job) if (home / each.path).is_file())


def settle_pass(installation: Installation, directory: BackupDirectory, job: Job, locked: ExclusiveJob) -> None:
    """Let the archives that a pass had finished when it was broken off join the job's checkpoint.

    BackupError when that cannot be done now: nothing is lost then, as long as the spool is not cleared.
    """
    spool = installation.spool(job.name)
    try:
        facts = _FACTS.load(read_regular(installation.broken_off(job.name), LONGEST))
    except (OSError, RecordError) as error:
        log.warning(_LOST.format(error), job=job.name)
        return
    if facts.directory == directory.id and directory.outdates(job.name, facts.backup):
        _join(installation, job, claimed(installation, directory, locked), facts)
    with translated(f"writing the spool {spool}", unwritable=StorageError):
        _forget(spool)


def _join(installation: Installation, job: Job, own: OwnJob, facts: _Facts) -> None:
    directory, spool = own.directory, installation.spool(own.name)
    lists = NameLists(spool, facts.name)
    parts = [Part(each.number, each.archive, Path(), each.changed, _paths(each.moved)) for each in _done(spool)]
    lost = missing_archives(directory, own.name, [(part.archive.path, part.archive.bytes) for part in parts])
    where = whereabouts(installation, directory, own.name)
    parts = [part for part in parts if part.archive.path not in lost or where.has(part.archive)]
    if not parts:
        return
    if not lists.are_there(facts.count) or not all(lists.listing(part.number).exists() for part in parts):
        log.warning(_LOST.format("some are gone"), job=own.name)
        return
    live = {b"%d" % number: weight for number, weight in enumerate(facts.live)}
    made = Made(lists.draft, facts.archives, live, lists, facts.count, parts)
    with translated(f"writing the checkpoint of {own.name}"):
        directory.sweep(own.name)
        folder = directory.job_path(own.name) / incoming_checkpoint(facts.backup)
        folder.mkdir(mode=0o700)
        try:
            archives, finished = write_index(made, folder / INDEX, job.compression_level)
        except (ValueError, LookupError) as error:
            log.warning(_LOST.format(error), job=own.name)
            return
    failpoint("settle-pass")
    state = State(folder / INDEX, archives, facts.taken_ns, finished.entries)
    put_checkpoint(directory, own.name, facts.backup, state, folder, key=this_key(installation.state))
    log.info(
        f"Kept {len(parts)} of {facts.count} archives of a run that was broken off",
        job=own.name,
        bytes=sum(part.archive.bytes for part in parts),
    )


def _done(spool: Path) -> Iterator[_Done]:
    for path in sorted(spool.glob(f"{_DONE}*")):
        with suppress(OSError, RecordError):  # it was about to be written
            yield _DONES.load(read_regular(path, LONGEST))


def _forget(spool: Path) -> None:
    (spool / BROKEN_OFF).unlink(missing_ok=True)
    fsync_directory(spool)
    for path in spool.glob(f"{_DONE}*"):
        path.unlink()


def _paths(texts: Iterable[str]) -> frozenset[bytes]:
    return frozenset(map(os.fsencode, texts))

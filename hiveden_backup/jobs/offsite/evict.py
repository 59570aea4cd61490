"""Archives leave this machine once an offsite is seen to have them whole (`keep_local = "newest"`)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hiveden_backup.core.backup.layout import ARCHIVES
from hiveden_backup.core.backup.stub import Stub
from hiveden_backup.core.errors import BusyError, NotFoundError
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.journal import Line
from hiveden_backup.core.offsite.sums import ArchiveSums, load_archive
from hiveden_backup.host.disk import archives
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.later import Later
from hiveden_backup.host.log import log
from hiveden_backup.host.offsite.rclone import Object, Remote
from hiveden_backup.host.state.locks import job_lock
from hiveden_backup.host.state.offsites import Offsites
from hiveden_backup.jobs.backups.ownership import owned
from hiveden_backup.jobs.backups.whereabouts import whereabouts
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.place import host_of

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = Later("hashlib")


def evict_if_wanted(installation: Installation, remote: Remote, job: str) -> tuple[str, ...]:
    """Remove the job's archives that `remote` has whole, as a fresh listing and their sums there say; their paths.

    A stub stands in each one's place. Nothing goes while something else is done with the job, or a run that was broken
    off waits for the next one: it is done after the next push. Nor where archives are to stay.
    """
    name, host = remote.offsite.name, host_of(installation, remote.offsite)
    if not remote.offsite.keeps_newest or host is None:
        return ()
    where = whereabouts(installation, installation.own_directory, job)
    known = Offsites(installation.state).there(name, job)
    going = sorted(where.here & where.there[name].keys() - installation.records.failed_archives(job))
    if not going:
        return ()
    folder = layout.job_object(host, job)
    listed = {each.name: each for each in remote.list(f"{folder}/{ARCHIVES}", digests=True)}
    lines = {path: known.of(path) for path in going}
    sent = [path for path in going if all(_as_sent(listed.get(f"{folder}/{n}"), x) for n, x in lines[path].items())]
    proven = {path: sums for path in sent if (sums := _proven(remote, folder, path, lines[path])) is not None}
    if len(proven) < len(going):
        log.warning(
            f"{len(going) - len(proven)} archives stay on this machine: what the offsite {name} lists of them is not"
            f" what was sent. Compare all of it: hiveden-backup offsite reconcile {name} {job}",
            job=job,
        )
    try:
        with job_lock(installation.state, job) as locked, translated(f"removing archives of {job}"):
            directory = owned(installation, installation.own_directory, locked).directory
            if installation.broken_off(job).exists():
                return ()
            lying = {path for path in directory.archives(job) if (directory.job_path(job) / path).is_file()}
            gone = [path for path in proven if path in lying]
            for path in gone:
                whole = proven[path].archive
                others = tuple(each for each in where.names(path) if each != name)
                archives.evict(directory, job, Stub(path, whole.bytes, whole.sha256, (name, *others)))
    except BusyError:
        log.info(f"The archives of {job} stay for now: something else is done with the job", job=job)
        return ()
    if gone:
        freed = sum(proven[path].archive.bytes for path in gone)
        log.info(f"{len(gone)} archives are at the offsite {name} alone from now on", job=job, bytes=freed)
    return tuple(gone)


def _as_sent(found: Object | None, line: Line) -> bool:
    if found is None or found.bytes != line.bytes:
        return False
    return not (found.md5 and line.md5) or found.md5 == line.md5


def _proven(remote: Remote, folder: str, path: str, lines: Mapping[str, Line]) -> ArchiveSums | None:
    """What the sums of an archive say there: what this host wrote, of the objects that it has sent."""
    sums = layout.archive_sums(path)
    try:
        content = remote.read(f"{folder}/{sums}", layout.LONGEST_SUMS)
    except NotFoundError:  # rclone says so as well where it was refused
        return None
    if hashlib.sha256(content).hexdigest() != lines[sums].sha256:
        return None
    found = load_archive(content)
    pieces = {f"{ARCHIVES}/{each.name}": (each.bytes, each.sha256) for each in found.pieces}
    sent = {name: (lines[name].bytes, lines[name].sha256) for name in pieces if name in lines}
    return found if pieces == sent else None

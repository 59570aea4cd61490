"""Which offsites and jobs are meant, what of them is to be sent, and what has to stay there whatever retention says."""

from collections.abc import Sequence

from hiveden_backup.core.backup import layout as here
from hiveden_backup.core.backup.unusual import waiting
from hiveden_backup.core.config.values import Job, Offsite
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, CorruptError, NotFoundError
from hiveden_backup.core.model import Archive
from hiveden_backup.core.names import did_you_mean
from hiveden_backup.core.offsite.journal import There
from hiveden_backup.core.offsite.plan import Moment, to_send
from hiveden_backup.host.clock import local_zone
from hiveden_backup.host.disk.archives import missing_archives
from hiveden_backup.host.disk.repository import read_archive_names
from hiveden_backup.host.state.chains import chains_of
from hiveden_backup.host.state.offsites import Offsites
from hiveden_backup.jobs.backups.counted import Counted, counted
from hiveden_backup.jobs.backups.ownership import check_owner
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.place import moved_from, refuse_to_move
from hiveden_backup.jobs.run.broken_off import begun
from hiveden_backup.jobs.run.room import leaves


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be sent of one job to one offsite: backups, newest first, and about how many bytes that are.

    `begun` are archives for a backup that is not there yet; `early` those of them that are to be there before it is.
    """

    offsite: Offsite
    job: Job
    known: Counted
    begun: tuple[Archive, ...]
    backups: tuple[str, ...]
    early: tuple[Archive, ...]
    bytes: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be sent."""
        return not (self.backups or self.early)


def chosen_offsites(installation: Installation, name: str | None) -> tuple[Offsite, ...]:
    """The offsite of this name, all when it is None. NotFoundError."""
    offsites = installation.config.offsites
    if not offsites:
        hint = f"Add a table [offsite.NAME] to {installation.config_file}: hiveden-backup guide offsite"
        raise NotFoundError("There is no offsite in the configuration", "", hint)
    if name is None:
        return tuple(offsites.values())
    if name not in offsites:
        hint = did_you_mean(name, offsites, f"The configuration has: {', '.join(offsites)}")
        raise NotFoundError(f"There is no offsite {name}", "", hint)
    return (offsites[name],)


def jobs_there(installation: Installation, offsite: Offsite, jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Those of the jobs whose backups go to an offsite."""
    return tuple(job for job in jobs if offsite in installation.config.offsites_of(job))


def draft(installation: Installation, offsite: Offsite, job: Job) -> "Draft | BackupError":
    """What is to be sent, worked out here alone; or why that cannot be told."""
    try:
        directory = installation.own_directory
        check_owner(installation, directory, job.name)
        waiting_for_one = begun(installation, directory, job.name)
        known = counted(installation, directory, job.name)
        there = _there(installation, offsite, known)
        at = Moment(installation.now(), local_zone().zone)
        own = known.own
        found = [backup for backup in known.backups if backup not in own]
        backups = to_send(offsite, there, at, own=own, found=found, kept_for=kept_for(installation, known))
        early = _early(installation, known, job, there, waiting_for_one)
        size = sum(missing(known, there, backups).values()) + sum(each.bytes for each in early)
        return Draft(offsite, job, known, waiting_for_one, backups, early, size)
    except BackupError as error:
        return error


def _there(installation: Installation, offsite: Offsite, known: Counted) -> There:
    """What is at an offsite; nothing when it is another place since the last push. StorageError.

    ImpossibleError when that was the only one to have archives of this machine.
    """
    if moved_from(installation, offsite):
        refuse_to_move(installation, offsite)
        return There()
    known_there = Offsites(installation.state)
    known_there.facts(offsite.name, known.job)  # without these it is not known what is damaged
    return known_there.there(offsite.name, known.job)


def _early(
    installation: Installation, known: Counted, job: Job, there: There, waiting_for_one: Sequence[Archive]
) -> tuple[Archive, ...]:
    """What is to be there before any backup needs it: a run whose archives leave this machine may wait for room."""
    if not leaves(installation.config.offsites_of(job)):
        return ()
    sums, home = {path: line.plain_sha256 for path, line in there.archives.items()}, known.directory.job_path(known.job)
    missing = (each for each in waiting_for_one if sums.get(each.path, "none") not in ("", each.sha256))
    return tuple(each for each in missing if (home / each.path).is_file())


def kept_for(installation: Installation, known: Counted) -> dict[str, str]:
    """What stays there whatever retention says: all that is older than an unusual backup that waits for a person."""
    accepted = installation.records.accepted(known.job).backups
    for newest in waiting(known.history(), accepted)[:1]:
        older = known.backups[known.backups.index(newest.id) + 1 :]
        return dict.fromkeys(older, f"older than {newest.id}, which is unusual: hiveden-backup accept {known.job}")
    return {}


def missing(known: Counted, there: There, backups: Sequence[str]) -> dict[str, int]:
    """The archives that these backups need and that are not there, and their sizes."""
    whole, found = there.archives, dict[str, int]()
    for backup in backups:
        try:
            manifest = known.manifest(backup)
        except BackupError:  # it is told when its turn comes
            continue
        found.update((each.path, each.bytes) for each in manifest.archives if each.path not in whole)
        found[backup] = sum(file.bytes for artifact in manifest.artifacts for file in artifact.files)
    return found


def wanted_there(installation: Installation, planned: Draft) -> set[str]:
    """What is to be there: backups and all that they need, what is begun, and archives that this machine has not whole.

    CorruptError when it cannot be told what a backup needs: one of this directory that is damaged, or, where archives
    leave this machine, those of another directory.
    """
    known, backups = planned.known, planned.backups
    home = known.directory.job_path(known.job)
    begun = (each.path for each in planned.begun)
    away = (path for path in known.directory.archives(known.job) if not (home / path).is_file())
    wanted = {*backups, *known.strange, *begun, *away, *read_archive_names(home / here.CHECKPOINT)}
    sizes: set[tuple[str, int]] = set()
    for backup in known.backups:
        archives = known.manifest(backup).archives
        if backup in backups:
            wanted.update(each.path for each in archives)
        sizes.update((each.path, each.bytes) for each in archives)
    for backup in known.strange:  # what it says of itself is not to be trusted; it makes nothing go
        wanted.update(known.directory.archive_names(known.job, backup))
    lost = missing_archives(known.directory, known.job, sizes)
    return wanted | lost | (installation.records.failed_archives(known.job) & {path for path, _ in sizes})


def refuse_unseen(installation: Installation, known: Counted) -> None:
    """CorruptError when this host has backups of the job in another directory, whose archives may be there alone."""
    for name, chain in chains_of(installation.state, known.job).directories.items():
        if name != known.directory.id and any(not each.going for each in chain.backups.values()):
            raise CorruptError(
                f"Nothing of {known.job} is removed there",
                "Another backup directory has backups of it, which may need what is there",
                'Where that directory is gone for good, let archives stay here, keep_local = "all", and prune then',
            )

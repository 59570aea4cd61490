"""What this host tells of itself at an offsite, in the clear; and `fleet`, which reads what all hosts tell there."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from hiveden_backup import __version__
from hiveden_backup.core.codec import RecordError
from hiveden_backup.core.config.values import Offsite
from hiveden_backup.core.offsite import fleet as told
from hiveden_backup.core.offsite.layout import LONGEST_STATUS, STATUS_FOLDER, is_host_folder, status_object
from hiveden_backup.host.disk.durable import UnfitFileError, read_regular, write_durably
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.state.identity import this_host
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.choice import chosen_offsites
from hiveden_backup.jobs.schedule.status import JobStatus, job_status

_SUFFIX = ".json"


def tell(installation: Installation, remote: Remote, host: str) -> None:
    """Write how this host is doing to an offsite, where its folder is called `host`."""
    standing = _standing(installation, remote.offsite)
    with tempfile.TemporaryDirectory(prefix="hiveden-backup-") as folder:
        file = Path(folder, "status")
        write_durably(file, told.dump(standing))
        remote.put(file, status_object(host))


def _standing(installation: Installation, offsite: Offsite) -> told.HostStanding:
    owner = this_host(installation.state)
    jobs = tuple(  # without a look at timers: the unit that pushes does not reach systemd
        _job(job_status(installation, job), offsite)
        for job in installation.config.jobs.values()
        if offsite in installation.config.offsites_of(job)
    )
    return told.HostStanding(owner.host, owner.host_id, __version__, installation.now(), jobs)


def _job(row: JobStatus, offsite: Offsite) -> told.JobStanding:
    (found,) = (each for each in row.offsite if each.name == offsite.name)
    result = row.result.value if row.result is not None else ""
    return told.JobStanding(
        row.job, found.newest, result, found.lag_seconds, found.lag_bytes, row.state.value, found.state.value
    )


def fleet(installation: Installation, name: str) -> Sequence[told.FleetRow]:
    """What each host that sends to this offsite tells of itself, those that need a look first.

    It costs one listing, and one read for each host.
    """
    (offsite,) = chosen_offsites(installation, name)
    remote = Remote(offsite, installation.state)
    with tempfile.TemporaryDirectory(prefix="hiveden-backup-") as folder:
        remote.fetch_all(STATUS_FOLDER, Path(folder), LONGEST_STATUS)
        files = sorted(path for path in Path(folder).iterdir() if is_host_folder(path.name.removesuffix(_SUFFIX)))
        rows = [_row(installation, path) for path in files if path.suffix == _SUFFIX]
    order = [*told.State]
    return sorted(rows, key=lambda row: (-order.index(row.state), row.name))


def _row(installation: Installation, path: Path) -> told.FleetRow:
    name = path.name.removesuffix(_SUFFIX)
    try:
        return told.row(name, told.load(read_regular(path, LONGEST_STATUS)), installation.now())
    except (RecordError, UnfitFileError) as error:
        return told.unreadable(name, str(error))


def is_troubled(row: told.FleetRow) -> bool:
    """Whether somebody should look at that host."""
    return row.state is not told.State.OK

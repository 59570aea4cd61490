"""What this host tells of itself at an offsite, in the clear; and `fleet`, which reads what all hosts tell there."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from hiveden_backup import __version__
from hiveden_backup.core.codec import RecordError
from hiveden_backup.core.config.values import Offsite
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.offsite import fleet as told
from hiveden_backup.core.offsite.layout import LONGEST_STATUS, STATUS_FOLDER, is_host_folder, status_object
from hiveden_backup.host.disk.durable import write_durably
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.state.identity import this_host
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.choice import chosen_offsites
from hiveden_backup.jobs.schedule.status import JobStatus, job_status

_SUFFIX = ".json"
_MOST_HOSTS = 5000


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


@dataclass(frozen=True, slots=True)
class Fleet:
    """The hosts that send to an offsite, those that need a look first; how many were `left_out`, as nobody looked."""

    rows: Sequence[told.FleetRow]
    left_out: int


def fleet(installation: Installation, name: str) -> Fleet:
    """What each host that sends to this offsite tells of itself.

    It costs two listings, and one read for each host.
    """
    (offsite,) = chosen_offsites(installation, name)
    remote = Remote(offsite, installation.state)
    sizes, left_out = _listed(remote)
    fit = [f"{host}{_SUFFIX}" for host, size in sizes.items() if size <= LONGEST_STATUS]
    rows = [
        told.unreadable(host, f"it is longer than {LONGEST_STATUS} bytes")
        for host, size in sizes.items()
        if size > LONGEST_STATUS
    ]
    failures = list[BackupError]()
    for file, found in remote.read_all(STATUS_FOLDER, fit, LONGEST_STATUS) if fit else ():
        if isinstance(found, BackupError):
            failures.append(found)
        rows.append(_row(installation, file.removesuffix(_SUFFIX), found))
    if failures and len(failures) == len(fit):
        raise failures[0]
    order = [*told.State]
    return Fleet(sorted(rows, key=lambda row: (-order.index(row.state), row.name)), left_out)


def _listed(remote: Remote) -> tuple[dict[str, int], int]:
    """The hosts that tell of themselves, and how large that is; and how many more there are, at whom nobody looks."""
    sizes = dict[str, int]()
    left_out = 0
    for each in remote.list(STATUS_FOLDER):
        host = each.name.removeprefix(f"{STATUS_FOLDER}/").removesuffix(_SUFFIX)
        if not is_host_folder(host) or status_object(host) != each.name:
            continue  # somebody else's
        if len(sizes) < _MOST_HOSTS or host in sizes:
            sizes[host] = each.bytes
        else:
            left_out += 1
    return sizes, left_out


def _row(installation: Installation, host: str, found: bytes | BackupError) -> told.FleetRow:
    if isinstance(found, BackupError):
        return told.unreadable(host, str(found))
    try:
        return told.row(host, told.load(found), installation.now())
    except RecordError as error:
        return told.unreadable(host, str(error))


def is_troubled(row: told.FleetRow) -> bool:
    """Whether somebody should look at that host."""
    return row.state is not told.State.OK

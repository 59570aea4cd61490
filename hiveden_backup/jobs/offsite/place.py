"""This host's folder at an offsite: whose it is lies there in the clear, and another host's is never written to."""

import tempfile
from contextlib import suppress
from pathlib import Path

from hiveden_backup.core.codec import Codec, RecordError
from hiveden_backup.core.config.values import Offsite
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import DeniedError, DirectoryError, ImpossibleError, NotFoundError, UnreachableError
from hiveden_backup.core.model import Owner
from hiveden_backup.core.offsite.layout import LONGEST_HOST_FILE, host_folder, host_object
from hiveden_backup.host.disk.archives import missing_archives
from hiveden_backup.host.log import log
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.state.identity import known_host, this_host
from hiveden_backup.host.state.offsites import LockedOffsite, Offsites, Place
from hiveden_backup.jobs.backups.counted import counted
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.patience import patiently
from hiveden_backup.jobs.run.broken_off import begun

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class _Host:
    """Whose a folder is."""

    format: int
    host_id: str
    host: str


_HOSTS = Codec(_Host)


def host_of(installation: Installation, offsite: Offsite) -> str | None:
    """This host's folder at an offsite, as far as it is known without asking there; None while it has none."""
    place = Offsites(installation.state).place(offsite.name)
    owner = known_host(installation.state)
    if place is None or place.remote != offsite.remote or not owner.host_id:
        return None
    return place.host if _is_of(place.host, owner) else None


def moved_from(installation: Installation, offsite: Offsite) -> str:
    """The place that an offsite was before, by its journals; "" when it was none, or is the same."""
    place = Offsites(installation.state).place(offsite.name)
    return place.remote if place is not None and place.remote != offsite.remote else ""


def claimed(installation: Installation, locked: LockedOffsite, remote: Remote) -> str:
    """This host's folder there, which is seen to be its own; the first time it is taken. DirectoryError.

    It keeps its name when the host gets another one. A key that may not read has to do without that look.
    """
    known = host_of(installation, remote.offsite)
    if known is not None:
        if remote.offsite.is_local:
            insist_on_own(installation, remote, known)
        return known
    refuse_to_move(installation, remote.offsite)
    owner = this_host(installation.state)
    folder = host_folder(owner.host, owner.host_id)
    try:
        found = _owner_of(remote, folder)
        if found is None:
            _put(remote, folder, owner)
            found = _owner_of(remote, folder)
    except DeniedError as error:
        _put(remote, folder, owner)
        log.warning(f"It cannot be seen whose the folder {folder} at the offsite {remote.offsite.name} is: {error.why}")
        found = owner.host_id
    if found != owner.host_id:
        raise DirectoryError(
            f"The folder {folder} at the offsite {remote.offsite.name} belongs to another host",
            f"Its id is {found or 'not to be read'}, and this host's is {owner.host_id}",
            "Give this offsite another remote, or this machine another name",
        )
    Offsites(installation.state).put_place(locked, Place(remote.offsite.remote, folder))
    return folder


def insist_on_own(installation: Installation, remote: Remote, host: str) -> None:
    """UnreachableError unless this host's folder is there: an empty directory, or another disk, is another place."""
    if _owner_of(remote, host) != this_host(installation.state).host_id:
        raise UnreachableError(
            f"{remote.offsite.remote} is not the place that the offsite {remote.offsite.name} was",
            f"It has no folder {host} of this host: perhaps its disk is not mounted, or another one is",
            "Mount the right one; for a new place, add another offsite",
        )


def refuse_to_move(installation: Installation, offsite: Offsite) -> None:
    """ImpossibleError when an offsite is another place now, and was the only one to have archives of this machine."""
    before = moved_from(installation, offsite)
    if not before:
        return
    directory = installation.own_directory
    for job in Offsites(installation.state).jobs(offsite.name):
        waiting_for_one = begun(installation, directory, job)
        known = counted(installation, directory, job)
        named = {(each.path, each.bytes) for backup in known.backups for each in known.manifest(backup).archives}
        named |= {(each.path, each.bytes) for each in waiting_for_one}
        if gone := missing_archives(directory, job, named):
            raise ImpossibleError(
                f"The offsite {offsite.name} is {offsite.remote} now, and was {before}",
                f"{len(gone)} archives of {job} are not on this machine, and may be there alone",
                "Give the new place another name, and leave the old one in the configuration",
            )


def _is_of(folder: str, owner: Owner) -> bool:
    """Whether a folder has this host's id in its name, whatever the host was called then."""
    return folder.rpartition("-")[2] == host_folder(owner.host, owner.host_id).rpartition("-")[2]


def _owner_of(remote: Remote, folder: str) -> str | None:
    """The id of the host that a folder belongs to, "" where that cannot be read; None where nobody has it."""
    with suppress(NotFoundError):
        try:
            return _HOSTS.load(remote.read(host_object(folder), LONGEST_HOST_FILE)).host_id
        except RecordError:
            return ""
    return None


def _put(remote: Remote, folder: str, owner: Owner) -> None:
    with tempfile.TemporaryDirectory(prefix="hiveden-backup-") as temporary:
        path = Path(temporary, "host")
        path.write_bytes(_HOSTS.dump(_Host(_FORMAT, owner.host_id, owner.host)))
        patiently(lambda: remote.put(path, host_object(folder)), remote)

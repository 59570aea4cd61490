"""What lies at an offsite is called: names are made and read here, and nowhere else.

Below the remote, each host has a folder, in that each job, and in that `archives/` and one folder for each backup, as
in a backup directory. A name here is relative to the job's folder, unless it says otherwise. What is larger than a
slice lies there in several, numbered from 0; each is encrypted by itself, and then ends in `.age`.
"""

import re

from hiveden_backup.core.backup.layout import ARCHIVES, SIGNATURE, SUMS, archive_path, is_archive
from hiveden_backup.core.names import is_backup_id, is_job_name

STATUS_FOLDER = ".status"
HOST_FILE = ".host.json"
"""In a host's folder: whose it is."""

LONGEST_HOST_FILE = 4 << 10
LONGEST_STATUS = 64 << 10
LONGEST_SUMS = 64 << 20
LONGEST_SIGNATURE = 16 << 10

_ARCHIVE_SUMS = ".sums"
_SIGNED = ".sig"
_AGE = ".age"
_NUMBER = re.compile(r"(.+)\.([0-9]{4,6})", re.DOTALL)
_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.%-]*")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_NAME = 64
_HOST = re.compile(rf"[A-Za-z0-9._-]{{1,{_LONGEST_NAME}}}-[0-9a-f]{{8}}")
_ID_SHOWN = 8
_MOST_SLICES = 10**6


def host_folder(name: str, host_id: str) -> str:
    """The folder of a host: its name made fit, and the first part of its id."""
    fit = _UNFIT.sub("-", name)[:_LONGEST_NAME].lstrip(".-") or "host"
    return f"{fit}-{host_id.replace('-', '')[:_ID_SHOWN].lower()}"


def is_host_folder(name: str) -> bool:
    """Whether `name` is one that `host_folder` gives."""
    return _HOST.fullmatch(name) is not None and not name.startswith(".")


def status_object(host: str) -> str:
    """What `fleet` shows of a host, relative to the remote."""
    return f"{STATUS_FOLDER}/{host}.json"


def host_object(host: str) -> str:
    """What says whose the folder is, relative to the remote."""
    return f"{host}/{HOST_FILE}"


def job_object(host: str, job: str, name: str = "") -> str:
    """An object of a job, relative to the remote; its folder without a name."""
    return f"{host}/{job}/{name}" if name else f"{host}/{job}"


def state_folder(offsite: str) -> str:
    """Where the state directory keeps what it knows of an offsite."""
    return f"offsite/{offsite}"


def credential(offsite: str) -> str:
    """What systemd calls rclone's configuration of an offsite in a unit's credentials."""
    return f"rclone-{offsite}.conf"


# ---- objects of a job


def slice_count(size: int, most: int) -> int:
    """In how many slices a file of `size` bytes lies there; one for an empty file, too. ValueError for too many."""
    count = max(1, -(-size // most))
    if count > _MOST_SLICES:
        raise ValueError(f"it would have {count} slices")
    return count


def slice_object(path: str, number: int, *, encrypted: bool) -> str:
    """One slice of the archive, or of a large file of a backup, at `path` (relative to the job)."""
    return f"{path}.{number:04}{_AGE if encrypted else ''}"


def file_object(path: str, *, encrypted: bool) -> str:
    """A file of a backup that is not in slices."""
    return f"{path}{_AGE if encrypted else ''}"


def archive_sums(archive: str) -> str:
    """What says that the archive (`archives/NAME.tar.zst`) is complete there."""
    return f"{archive}{_ARCHIVE_SUMS}"


def backup_sums(backup: str) -> str:
    """What says that the backup is complete there."""
    return f"{backup}/{SUMS}"


def backup_signature(backup: str) -> str:
    """The signature of `backup_sums`."""
    return f"{backup}/{SIGNATURE}"


def signature_of(sums: str) -> str:
    """The signature of either kind of sums."""
    return f"{sums}{_SIGNED}"


def summed_archive(name: str) -> str | None:
    """The archive whose sums `name` is; None when it is something else."""
    path = name.removesuffix(_ARCHIVE_SUMS)
    return path if path != name and _archive(path) else None


def summed_backup(name: str) -> str | None:
    """The backup whose sums `name` is; None when it is something else."""
    backup, _, last = name.partition("/")
    return backup if last == SUMS and is_backup_id(backup) else None


def is_object(name: str) -> bool:
    """Whether `name` can be that of an object of a job: what is not so is nobody's of ours, and is left alone."""
    return owner(name) is not None


def owner(name: str) -> str | None:
    """What an object is a part of: the archive's path, or the backup's id. None when it is nobody's of ours."""
    folder, _, last = name.partition("/")
    if is_backup_id(folder):
        return folder if _FILE.fullmatch(last) else None
    if folder != ARCHIVES:
        return None
    plain = last.removesuffix(_SIGNED) if last.endswith(f"{_ARCHIVE_SUMS}{_SIGNED}") else last
    if plain.endswith(_ARCHIVE_SUMS):
        plain = plain.removesuffix(_ARCHIVE_SUMS)
    else:
        numbered = _NUMBER.fullmatch(plain.removesuffix(_AGE))
        plain = numbered[1] if numbered else ""
    return archive_path(plain) if is_archive(plain) else None


def is_of_job(path: str) -> tuple[str, str, str] | None:
    """Host, job and name of an object by its path relative to the remote; None when it is no job's."""
    host, _, rest = path.partition("/")
    job, _, name = rest.partition("/")
    return (host, job, name) if is_host_folder(host) and is_job_name(job) and is_object(name) else None


def _archive(path: str) -> bool:
    folder, _, name = path.partition("/")
    return folder == ARCHIVES and is_archive(name)

"""Which host this is: a random id that the state directory keeps, so that a host may change its name.

A state directory that was copied to another machine tells two of them apart by systemd's machine id, where they have
different ones: the copy gets an id of its own. What systemd makes anew at each boot, where it cannot write to /etc,
tells nothing of that kind.
"""

import os
import uuid
from contextlib import suppress
from pathlib import Path
from socket import gethostname

from hiveden_backup.core.codec import LONGEST, Codec, RecordError
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import StorageError
from hiveden_backup.core.model import Owner
from hiveden_backup.host.disk.durable import make_directory, read_regular, translated, write_durably, write_once

_MACHINE_ID = Path("/etc/machine-id")


@dataclass(frozen=True, slots=True)
class _Host:
    """`machine` is the machine id where this was written, "" where there was none that lasts."""

    id: str
    machine: str = ""


_HOSTS = Codec(_Host, lacking=("machine",))


def known_host(state: Path) -> Owner:
    """This host as the owner of backups; with the id "" while it has none. StorageError when it cannot be read."""
    found = _read(state / "host.json")
    return Owner(found.id if found is not None and _is_here(found) else "", host_name())


def this_host(state: Path) -> Owner:
    """As `known_host`; an id is made, once and durably, when there is none."""
    path = state / "host.json"
    with translated(f"writing {path}", unwritable=StorageError):
        make_directory(state)
        while not (host := known_host(state)).host_id:
            made = _HOSTS.dump(_Host(str(uuid.uuid4()), _machine_id()))
            found = _read(path)
            if found is None:
                write_once(path, made, path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp"))
            elif not found.id or not _is_here(found):  # another machine's, not one that was made meanwhile
                (state / "key").unlink(missing_ok=True)  # and what it signs is not this one's
                write_durably(path, made)
    return host


def _read(path: Path) -> _Host | None:
    with translated(f"reading {path}", unwritable=StorageError), suppress(FileNotFoundError):
        try:
            return _HOSTS.load(read_regular(path, LONGEST))
        except RecordError as error:
            raise StorageError(
                f"{path} is damaged, so it is not known which host this is",
                str(error),
                "Remove it, and say for each job that its backups are this machine's: "
                "hiveden-backup init --directory DIR --take-over JOB",
            ) from error
    return None


def _is_here(host: _Host) -> bool:
    here = _machine_id()
    return not host.machine or not here or host.machine == here


def _machine_id() -> str:
    """The id that this machine keeps when it boots again; "" when there is none, or it is only for this boot.

    Such a one is a file of /run, mounted in its place.
    """
    with suppress(OSError):
        if _MACHINE_ID.stat().st_dev != _MACHINE_ID.parent.stat().st_dev:
            return ""
        text = read_regular(_MACHINE_ID, LONGEST, follow=True).decode("ascii", "replace").strip()
        return text if text.isalnum() and text != "uninitialized" else ""
    return ""


def host_name() -> str:
    """What this machine is called. It may be any bytes: what is no text is shown as ?."""
    return gethostname().encode(errors="replace").decode()

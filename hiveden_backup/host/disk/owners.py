"""Who a job's directory belongs to: `.owner.json` in it, which of all that would claim it one alone can make."""

import uuid
from pathlib import Path

from hiveden_backup.core.backup import layout
from hiveden_backup.core.codec import Codec, RecordError
from hiveden_backup.core.errors import DirectoryError
from hiveden_backup.core.model import Owner
from hiveden_backup.host.disk.durable import UnfitFileError, read_regular, translated, write_durably, write_once

_OWNERS = Codec(Owner)


def owner_of(home: Path) -> Owner | None:
    """The host that the job's directory `home` belongs to, None when it is nobody's yet. DirectoryError if damaged.

    Others may write there: what they left is read as little as it can be, and its words are fit to be printed.
    """
    path = home / layout.OWNER
    with translated(f"reading {path}"):
        try:
            owner = _OWNERS.load(read_regular(path, layout.LONGEST_OWNER))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except RecordError as error:
            raise _damaged(path, str(error)) from error
        except UnfitFileError as error:
            raise _damaged(path, str(error.strerror)) from error
    if not owner.host_id or not f"{owner.host_id}{owner.host}".isprintable():
        raise _damaged(path, "It names no host")
    return owner


def _damaged(path: Path, why: str) -> DirectoryError:
    directory, job = path.parent.parent, path.parent.name
    return DirectoryError(
        f"{path} is damaged, so it cannot be seen whose backups these are",
        why,
        f"If they are this machine's: hiveden-backup init --directory {directory} --take-over {job}",
    )


def claim(home: Path, owner: Owner) -> Owner:
    """Who the job's directory `home` belongs to from now on: whoever it did already, else `owner`.

    Of several that claim it at once, on several machines, all get the same answer.
    """
    while (found := owner_of(home)) is None:
        with translated(f"claiming {home}"):
            write_once(home / layout.OWNER, _OWNERS.dump(owner), _growing(home))
    return found


def take_over(home: Path, owner: Owner) -> None:
    """Make the job's directory `home` belong to `owner`, whoever it did before."""
    with translated(f"taking over {home}"):
        write_durably(home / layout.OWNER, _OWNERS.dump(owner), _growing(home))


def _growing(home: Path) -> Path:
    """A name of its own beside the owner's file, which a sweep would remove."""
    return home / layout.incoming_owner(uuid.uuid4().hex[:8])

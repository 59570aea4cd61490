"""What one artifact of a backup is called outside the backup directory: `JOB.ID.database.SERVER.DB`, one flat word.

Only unreserved characters of URLs are in it, so a client may put it into one as it is: whatever else a name has is
written `~2F` here, not `%2F`, which a server would turn back into a slash before it looks for the name.
"""

import re

from hiveden_backup.core.model import ArtifactType
from hiveden_backup.core.names import encode, is_backup_id, is_job_name

_SHAPE = re.compile(r"([^.]+)\.([^.]+)\.(?:application|database(?:\.(?:[A-Za-z0-9_-]|~[0-9A-F]{2})+){2})", re.ASCII)


def filename(job: str, backup: str, kind: ArtifactType, server: str, target: str) -> str:
    """The name of an artifact; no two have the same."""
    parts = [job, backup, kind.value]
    if kind is ArtifactType.DATABASE:
        parts += [encode(name).replace("%", "~") for name in (server, target)]
    return ".".join(parts)


def backup_of(text: str) -> tuple[str, str] | None:
    """The job and the id in an artifact's name; None when `text` cannot be one."""
    match = _SHAPE.fullmatch(text)
    if match is None or not is_job_name(match[1]) or not is_backup_id(match[2]):
        return None
    return match[1], match[2]

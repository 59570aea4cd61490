"""How much room a run needs in the backup directory, estimated from what changed and from the last dumps."""

import os
import shutil
import stat

from hiveden_backup.core.backup.index import path_of
from hiveden_backup.core.errors import DirectoryError
from hiveden_backup.core.model import ArtifactType, Check
from hiveden_backup.core.sizes import text as size
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.index_files import spooled
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.jobs.backups.catalog import newest_manifest
from hiveden_backup.jobs.run.passes import Look
from hiveden_backup.jobs.run.plan import Draft

_SPARE = 16 << 20
_BLOCK = 512
_LEAST_FILES = 0.1
_LEAST_DUMPS = 0.5
"""What each may shrink to against all likelihood: a run that would not fit even so is refused, any other is tried."""


def check_room(draft: Draft, directory: BackupDirectory) -> None:
    """DirectoryError when the run cannot fit, a WARN when it may not."""
    free = shutil.disk_usage(directory.path).free
    dumps, files = _last_dumps(draft, directory), 0.0
    if draft.looked is not None:
        content = draft.looked.comparison.taken_weight
        if content + dumps + _SPARE > free:
            content = _on_disk(draft.looked)
        files = content * _ratio(draft)
    likely = dumps + int(files)
    if not free or dumps * _LEAST_DUMPS + files * _LEAST_FILES > free:
        raise DirectoryError(
            f"The backup directory has {size(free)} free, and the run needs about {size(likely)}",
            "",
            "Free some space, prune, or exclude something",
        )
    if likely + _SPARE > free:
        draft.findings.warn(Check.SPACE, f"{size(free)} free, and the run may need {size(likely)}")
    else:
        draft.findings.ok(Check.SPACE, f"{size(free)} free, about {size(likely)} needed")


def _ratio(draft: Draft) -> float:
    """How much of its content an archive of the job takes on disk: what the older ones tell."""
    written = [archive for archive in draft.base.archives if archive.content_bytes]
    content = sum(archive.content_bytes for archive in written)
    return min(sum(archive.bytes for archive in written) / content, 1.0) if content else 1.0


def compaction_fits(directory: BackupDirectory, taken: int, rewritten: int) -> bool:
    """Whether there is room for compaction besides what changed, in bytes of content."""
    return taken + rewritten + _SPARE <= shutil.disk_usage(directory.path).free


def _last_dumps(draft: Draft, directory: BackupDirectory) -> int:
    if not draft.servers:
        return 0
    newest = newest_manifest(directory, draft.job.name)
    artifacts = newest.artifacts if newest is not None else ()
    return sum(file.bytes for each in artifacts if each.type is ArtifactType.DATABASE for file in each.files)


def _on_disk(looked: Look) -> int:
    """What the changed files occupy: sparse ones weigh less than their size says."""
    total = 0
    with translated("reading the draft index"):
        for line in spooled(looked.draft):
            if line.startswith(b"+\tf"):
                try:
                    found = os.lstat(b"/" + path_of(line))
                except (FileNotFoundError, NotADirectoryError):
                    continue
                if stat.S_ISREG(found.st_mode):
                    total += min(found.st_blocks * _BLOCK, found.st_size) // max(found.st_nlink, 1)
            total += _BLOCK
    return total

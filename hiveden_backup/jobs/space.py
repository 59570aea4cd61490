"""How much room a run needs in the backup directory, estimated from what changed and from the last dumps."""

import os
import shutil
import stat

from hiveden_backup.core.errors import DirectoryError
from hiveden_backup.core.index import path_of, split_records
from hiveden_backup.core.model import ArtifactType
from hiveden_backup.host import tar
from hiveden_backup.host.directory import BackupDirectory
from hiveden_backup.host.files import translated
from hiveden_backup.jobs.passes import Look
from hiveden_backup.jobs.plan import Plan

_SPARE = 16 << 20
_BLOCK = 512
_FIRST_RATIO = 0.4
"""Without any archive to learn from, this is what content may shrink to before a run is refused."""


def check_room(plan: Plan, directory: BackupDirectory) -> None:
    """DirectoryError when the run cannot fit, a WARN when it may not."""
    free = shutil.disk_usage(directory.path).free
    dumps = _last_dumps(plan, directory)
    if plan.looked is None:
        likely = least = dumps
    else:
        content = plan.looked.comparison.taken_weight
        if content + dumps + _SPARE > free:
            content = _on_disk(plan.looked)
        written = [archive for archive in plan.base.archives if archive.content_bytes]
        known = sum(archive.bytes for archive in written) / max(sum(archive.content_bytes for archive in written), 1)
        ratio = min(known, 1.0) if written else 1.0
        likely = int(content * ratio) + dumps
        least = int(content * (ratio if written else _FIRST_RATIO)) + dumps
    if least + _SPARE > free:
        raise DirectoryError(
            f"The backup directory has {free >> 20} MiB free, and the run needs about {(likely + _SPARE) >> 20} MiB",
            "",
            "Free some space, prune, or exclude something",
        )
    if likely + _SPARE > free:
        plan.findings.warn("space", f"{free >> 20} MiB free, and the run may need {(likely + _SPARE) >> 20} MiB")
    else:
        plan.findings.ok("space", f"{free >> 20} MiB free, about {likely >> 20} MiB needed")


def compaction_fits(directory: BackupDirectory, taken: int, rewritten: int) -> bool:
    """Whether there is room for compaction besides what changed, in bytes of content."""
    return taken + rewritten + _SPARE <= shutil.disk_usage(directory.path).free


def _last_dumps(plan: Plan, directory: BackupDirectory) -> int:
    if not plan.servers:
        return 0
    for backup in directory.backups(plan.job.name)[:1]:
        artifacts = directory.manifest(plan.job.name, backup).artifacts
        return sum(file.bytes for each in artifacts if each.type is ArtifactType.DATABASE for file in each.files)
    return 0


def _on_disk(looked: Look) -> int:
    """What the changed files occupy: sparse ones weigh less than their size says."""
    total = 0
    with translated("reading the draft index"), looked.draft.open("rb") as file:
        for line in split_records(tar.chunks(file)):
            if line.startswith(b"+\tf"):
                try:
                    found = os.lstat(b"/" + path_of(line))
                except (FileNotFoundError, NotADirectoryError):
                    continue
                if stat.S_ISREG(found.st_mode):
                    total += min(found.st_blocks * _BLOCK, found.st_size) // max(found.st_nlink, 1)
            total += _BLOCK
    return total

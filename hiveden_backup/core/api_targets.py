"""What a client calls a target, and the job that backs it up: pure rules, nothing is looked up."""

import posixpath
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping

from hiveden_backup.core.config import rules
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import UsageError
from hiveden_backup.core.model import ArtifactType
from hiveden_backup.core.paths import inside

_LONGEST_NAME = 48
_TEXT_LIMIT = 4096
_MOST_DIRECTORIES = 256


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be backed up, in a client's words: a job's name, a database's name, or the path it was made from.

    `source_dirs` are the directories of an application, `container` the one to stop, or that the database runs in.
    """

    type: ArtifactType
    target: str
    source_dirs: tuple[str, ...] = ()
    container: str | None = None

    def __post_init__(self) -> None:
        if len(self.source_dirs) > _MOST_DIRECTORIES:
            raise UsageError(f"A target has {_MOST_DIRECTORIES} directories at most", "", "Name one that holds them")
        for text in (self.target, *self.source_dirs, *((self.container,) if self.container is not None else ())):
            fault = rules.plain(text)
            if fault is not None or len(text) > _TEXT_LIMIT:
                raise UsageError(f"A name in the request {fault.message if fault else 'is too long'}")
        if self.type is ArtifactType.APPLICATION:
            if not self.target.startswith("/") and ("/" in self.target or self.target in {".", ".."}):
                raise UsageError("The target is neither a name nor an absolute path", "", "Begin it with /")
            for path in (*self.source_dirs, *((self.target,) if self.target.startswith("/") else ())):
                if (fault := rules.absolute_path(_trimmed(path))) is not None:
                    raise UsageError(fault.message, "", fault.hint)

    @property
    def paths(self) -> tuple[str, ...]:
        """The directories of an application, none when the client named no path at all."""
        if self.type is not ArtifactType.APPLICATION:
            return ()
        named = self.source_dirs or ((self.target,) if self.target.startswith("/") else ())
        return tuple(dict.fromkeys(_trimmed(path) for path in named))


def matching(wanted: Wanted, jobs: Iterable[Job], dumped: Mapping[str, Collection[str]]) -> tuple[Job, ...]:
    """The jobs that the target belongs to. `dumped` are the databases in each job's newest backup.

    They tell what a job dumps that takes all databases of a server.
    """
    if wanted.type is ArtifactType.APPLICATION:
        candidates = [job for job in jobs if job.has_files]
        named = [job for job in candidates if wanted.target == job.name or _trimmed(wanted.target) in job.paths]
        return tuple(named or [job for job in candidates if _was_made_for(wanted, job)])
    return tuple(job for job in jobs if job.postgres and _has_database(wanted, job, dumped.get(job.name, ())))


def contradiction(wanted: Wanted, job: Job) -> str:
    """Why a job does not do what a client takes for granted, "" when it does."""
    missing = [path for path in wanted.paths if not any(inside(path, own) for own in job.paths)]
    if missing and wanted.source_dirs:
        return f"Its paths do not cover {missing[0]}"
    known = {*job.containers, *(source.container for source in job.postgres)}
    if wanted.container is not None and wanted.container not in known:
        return f"It has no container {wanted.container}"
    return ""


def job_name(target: str, taken: Collection[str]) -> str:
    """A name for a new job: made of the target's last part, and not taken."""
    base = _name_of(target) or "job"
    number, name = 1, base
    while name in taken:
        number += 1
        name = f"{base[: _LONGEST_NAME - 1 - len(str(number))]}-{number}"
    return name


def _was_made_for(wanted: Wanted, job: Job) -> bool:
    """Whether a job has what a new one for these words would have: its directories, or its name."""
    if wanted.source_dirs and set(wanted.paths) == set(job.paths):
        return True
    return not wanted.target.startswith("/") and _name_of(wanted.target) == job.name


def _has_database(wanted: Wanted, job: Job, dumped: Collection[str]) -> bool:
    if wanted.target == job.name:
        return True
    sources = [each for each in job.postgres if wanted.container in (None, each.container)]
    return any(
        wanted.target in source.databases or (not source.databases and wanted.target in dumped) for source in sources
    )


def _trimmed(path: str) -> str:
    """A path without the slash at its end; all else that is not normal is for the rules to refuse."""
    return path.rstrip("/") or "/" if path.startswith("/") else path


def _name_of(target: str) -> str:
    last = posixpath.basename(target.rstrip("/"))
    plain = unicodedata.normalize("NFKD", last).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-_")[:_LONGEST_NAME]

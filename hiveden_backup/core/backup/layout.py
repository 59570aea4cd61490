"""The backup directory's layout: what each file and folder in it is called, and what its plain lists say.

Names are made and read here and nowhere else. What begins with a dot is no finished backup.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from hiveden_backup.core.lines import split_lines
from hiveden_backup.core.names import encode

MARKER = ".hiveden-backup.json"
RECIPE = "HOW-TO-RESTORE.txt"

LONGEST_MARKER = 4 << 10
"""What no marker is longer than, in bytes. Others may write here: what is longer is damage, and is not read."""

# ---- in the directory of a job

OWNER = ".owner.json"
ARCHIVES = "archives"
CHECKPOINT = ".checkpoint"
LONGEST_OWNER = 4 << 10
_INCOMING = ".incoming-"
_DELETING = ".deleting-"

# ---- in a backup, or a checkpoint

INDEX = "files.index.zst"
ARCHIVE_NAMES = "files.archives"
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
CHECKPOINT_FACTS = "checkpoint.json"
LONGEST_MANIFEST = LONGEST_ARCHIVE_NAMES = LONGEST_CHECKPOINT_FACTS = 64 << 20
LONGEST_SUMS = 16 << 20
LONGEST_SIGNATURE = 16 << 10
LONGEST_OTHER = 1 << 30
"""The same of files whose sizes no manifest has, as those of `globals_of`: compressed, a tenth of a second to read."""

_ARCHIVE = re.compile(r"\d{8}T\d{6}Z\.(hot|cold)(-\d+)?\.tar\.zst", re.ASCII)
_GLOBALS = re.compile(r"globals\.[^.]+\.sql\.zst")
_ARTIFACT_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.%-]*")
_DUMP = re.compile(r"database\.([^.]+)\.[^.]+\.dump\.zst")


def incoming(backup: str) -> str:
    """Where a backup grows."""
    return f"{_INCOMING}{backup}"


def incoming_checkpoint(backup: str) -> str:
    """Where the checkpoint of the run that makes a backup grows."""
    return f"{_INCOMING}checkpoint-{backup}"


def incoming_owner(token: str) -> str:
    """Where the file that says who a job's directory belongs to grows; `token` makes it the only one."""
    return f"{_INCOMING}owner-{token}"


def deleting(name: str, token: str) -> str:
    """What the backup or checkpoint `name` is called while it is removed; `token` makes it the only one."""
    return f"{_DELETING}{name.lstrip('.')}-{token}"


def is_leftover(name: str) -> bool:
    """Whether a name in a job's directory is one of what a killed run or delete leaves."""
    return name.startswith((_INCOMING, _DELETING))


def hot_archive(backup: str, number: int) -> str:
    """An archive of a run's hot passes, the first of which has the number 1. Until 0.1.0 a pass had one, without it."""
    return f"{backup}.hot-{number:04}.tar.zst"


def cold_archive(backup: str, number: int) -> str:
    """The same of a run's cold pass."""
    return f"{backup}.cold-{number:04}.tar.zst"


def is_archive(name: str) -> bool:
    """Whether `name` is the file name of an archive."""
    return _ARCHIVE.fullmatch(name) is not None


def archive_path(name: str) -> str:
    """An archive by its file name, as indexes and manifests name it: relative to the job's directory."""
    return f"{ARCHIVES}/{name}"


@lru_cache(4096)  # all manifests of a job name the same ones
def is_archive_path(path: str) -> bool:
    """Whether `path` is one that `archive_path` gives."""
    folder, _, name = path.partition("/")
    return folder == ARCHIVES and is_archive(name)


def dump(server: str, database: str) -> str:
    """The dump of a database."""
    return f"database.{encode(server)}.{encode(database)}.dump.zst"


def is_artifact_file(name: str) -> bool:
    """Whether `name` can be that of a file of a backup: one of this folder, in which other names are encoded."""
    return _ARTIFACT_FILE.fullmatch(name) is not None


def is_backup_file(name: str) -> bool:
    """Whether `name` is that of a file which backups are made of, and SHA256SUMS names."""
    known = name in (INDEX, ARCHIVE_NAMES, MANIFEST) or is_globals(name) or globals_beside(name) is not None
    return known and is_artifact_file(name)


def globals_of(server: str) -> str:
    """The roles and tablespaces of a server."""
    return _globals(encode(server))


def globals_beside(name: str) -> str | None:
    """The roles and tablespaces of the server that the dump called `name` is of; None when it is not called so."""
    match = _DUMP.fullmatch(name)
    return _globals(match[1]) if match is not None else None


def _globals(server: str) -> str:
    return f"globals.{server}.sql.zst"


def is_globals(name: str) -> bool:
    """Whether `name` is one that `globals_of` gives."""
    return _GLOBALS.fullmatch(name) is not None


# ---- lists


def archive_list(paths: Iterable[str]) -> bytes:
    """The content of `files.archives`."""
    return "".join(f"{path}\n" for path in paths).encode()


def parse_archive_list(content: bytes) -> tuple[str, ...]:
    """The archives' paths in the order of the index's numbers. ValueError when one is no archive's."""
    paths = tuple(split_lines(content.decode()))
    for path in paths:
        if not is_archive_path(path):
            raise ValueError(f"{path!r} is no archive")
    return paths


def sums(digests: Iterable[tuple[str, str]]) -> bytes:
    """The content of `SHA256SUMS`, as sha256sum(1) reads it, from names and their digests."""
    return "".join(f"{digest}  {name}\n" for name, digest in digests).encode()


def parse_sums(content: bytes) -> dict[str, str]:
    """Names and their digests. ValueError when a line has no name of a file beside this one."""
    found = {}
    for line in split_lines(content.decode()):
        digest, _, name = line.partition("  ")
        if not name or "/" in name:
            raise ValueError(f"It has the line {line!r}")
        found[name] = digest
    return found

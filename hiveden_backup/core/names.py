"""Names: jobs, backup ids, servers, and the encoding of odd names in file names."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from hiveden_backup.core.config.values import PostgresSource

JOB_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")
BACKUP_ID = re.compile(r"([1-9]\d{3})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
_DOCKER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_ISO = re.compile(r"([1-9]\d{3})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z", re.ASCII)

_ID_FORMAT = "%Y%m%dT%H%M%SZ"
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def is_job_name(text: str) -> bool:
    """Whether `text` may name a job."""
    return JOB_NAME.fullmatch(text) is not None


def is_docker_name(text: str) -> bool:
    """Whether `text` may name a container or a volume."""
    return _DOCKER_NAME.fullmatch(text) is not None


def backup_id(moment: datetime) -> str:
    """The id of a backup begun at `moment` (aware; whole seconds, UTC): `20261123T023000Z`."""
    return moment.astimezone(UTC).strftime(_ID_FORMAT)


def backup_time(text: str) -> datetime:
    """The moment an id stands for, UTC. ValueError when `text` is no id."""
    match = BACKUP_ID.fullmatch(text)
    if match is None:
        raise ValueError(f"not a backup id: {text!r}")
    return _moment(match)


def is_backup_id(text: str) -> bool:
    """Whether `text` is the id of a backup: the right shape and a real moment."""
    try:
        backup_time(text)
    except ValueError:
        return False
    return True


def newest_first(ids: Iterable[str], now: datetime) -> list[str]:
    """Ids in the order in which their backups or runs were made, as far as ids tell: newest first.

    Those dated in the future come last. The clock was wrong when they were made, or is now; then all of them are.
    """
    mark = backup_id(now)
    return sorted(ids, key=lambda each: (each <= mark, each), reverse=True)


def server_names(sources: Sequence[PostgresSource]) -> tuple[str, ...]:
    """What each of a job's servers is called in file names and manifests: several of one host by their ports, too."""
    plain = [source.server for source in sources]
    return tuple(
        f"{name}:{source.port}" if plain.count(name) > 1 and source.dsn is not None else name
        for name, source in zip(plain, sources, strict=True)
    )


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with `Z`, whole seconds: how manifests and records write moments."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_iso(text: str) -> datetime:
    """The inverse of `iso`. ValueError on anything else."""
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(f"not a moment: {text!r}")
    return _moment(match)


def _moment(match: re.Match[str]) -> datetime:
    """From the six groups of a pattern: ten times faster than strptime, which a list of a thousand backups feels."""
    year, month, day, hour, minute, second = map(int, match.groups())
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def did_you_mean(name: str, known: Iterable[str], otherwise: str, shown: Callable[[str], str] = str) -> str:
    """A hint for a `name` that is none of the `known`: the one that is most like it, as `shown`, else `otherwise`."""
    import difflib  # noqa: PLC0415 - only a wrong name pays for it

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {shown(close[0])}?" if close else otherwise


def encode(name: str) -> str:
    """`name` percent-encoded outside `[A-Za-z0-9_-]` (UTF-8), for use inside a file name."""
    return "".join(chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in name.encode("utf-8", "surrogateescape"))

"""When systemd's calendars elapse, as systemd-analyze(1) knows it. No running systemd is needed, nothing is changed."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from hiveden_backup.core.errors import BackupError, UnreachableError
from hiveden_backup.core.lines import split_lines
from hiveden_backup.host.process import Command, ProcessError, find_program, run

_PROGRAM = "systemd-analyze"
_TIMEOUT_SECONDS = 30.0
_HINT = "Look at `man systemd.time` and try it with: systemd-analyze calendar 'EXPRESSION'"

_ELAPSE = re.compile(r" *(?:Next elapse|Iter(?:ation|\.) #\d+): \w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\b.*")
_NORMALIZED = re.compile(r"^Normalized form: (.*)$", re.MULTILINE)
_IN_UTC = re.compile(r" *\(in UTC\): \w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC")


def upcoming(lines: Sequence[str], count: int, now: datetime | None = None) -> tuple[datetime, ...]:
    """The next `count` moments after `now` (default: the clock) at which a timer with all of `lines` elapses.

    The moments are whole seconds in UTC, sorted, each once; there are fewer when the calendars end, none when they
    never elapse. The zone is the machine's unless a line names another. BackupError with systemd's reason when a line
    is not a calendar, UnreachableError without systemd-analyze.
    """
    if not lines or count < 1:
        return ()
    options = [f"--iterations={count}"]
    if now is not None:
        options.append(f"--base-time={now.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC")
    return tuple(sorted(set(_moments(_analyzed(lines, *options))))[:count])


def _analyzed(lines: Sequence[str], *options: str) -> str:
    """What `systemd-analyze calendar` says of the lines."""
    for line in lines:
        if not line.isprintable():
            raise BackupError(f"{line!r} is not a systemd calendar", "It has a control character in it", _HINT)
    try:
        done = run(Command([_installed(), "calendar", *options, "--", *lines]), timeout=_TIMEOUT_SECONDS)
    except ProcessError as error:
        quoted = ", ".join(f"'{line}'" for line in lines)
        several = "is not a systemd calendar" if len(lines) == 1 else "are not all systemd calendars"
        raise BackupError(f"{quoted} {several}", "; ".join(split_lines(error.stderr)), _HINT) from error
    return done.stdout.decode()


def normalized(lines: Sequence[str]) -> tuple[str, ...]:
    """Each of the calendars in systemd's own spelling (`Mon..Fri *-*-* 12:00:00`). Errors are those of `upcoming`."""
    if not lines:
        return ()
    return tuple(_NORMALIZED.findall(_analyzed(lines)))


def _moments(text: str) -> Iterator[datetime]:
    """Each elapse in the output: its own line, or the one below it that says the same in UTC."""
    local: str | None = None  # an elapse whose UTC form may follow; without one the machine's zone is UTC
    for line in split_lines(text):
        if match := _IN_UTC.fullmatch(line):
            yield _utc(match[1])
            local = None
            continue
        if local is not None:
            yield _utc(local)
        match = _ELAPSE.fullmatch(line)
        local = match[1] if match else None
    if local is not None:
        yield _utc(local)


def _utc(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)


def _installed() -> str:
    try:
        return find_program(_PROGRAM)
    except UnreachableError as error:
        raise UnreachableError(
            f"The program {_PROGRAM} is not installed",
            "Schedules are systemd's calendars, and it alone can read them",
            "Install it: apt-get install systemd",
        ) from error

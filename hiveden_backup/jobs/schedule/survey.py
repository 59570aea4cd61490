"""`schedule show`, and what `apply` starts from: the units that the configuration asks for, and those there are."""

import difflib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hiveden_backup.core.config.keys import join
from hiveden_backup.core.config.values import Config, Job
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, ConfigError, Problem
from hiveden_backup.core.model import Check, Finding, Status
from hiveden_backup.core.names import iso
from hiveden_backup.core.schedule import units
from hiveden_backup.core.schedule.expression import ScheduleError, to_calendars
from hiveden_backup.core.schedule.offsite_units import offsite_files
from hiveden_backup.core.schedule.skipped_hours import Gap, gaps
from hiveden_backup.host import config_files
from hiveden_backup.host.clock import local_zone
from hiveden_backup.host.systemd import systemctl as systemd
from hiveden_backup.host.systemd.calendar import upcoming
from hiveden_backup.host.systemd.unit_files import UnitFiles, Written, digest, shared
from hiveden_backup.jobs.installation import DEFAULT_CONFIG, Installation

_NEXT = 3
_YEAR_DAYS = 370
_SECOND = timedelta(seconds=1)


class Drift(StrEnum):
    """How a job's installed units differ from the configuration."""

    MISSING = "missing"  # a unit is not there
    EDITED = "edited"  # it is not as it was written, or somebody has added to its timer
    STALE = "stale"  # it is as it was written, but the configuration has changed
    STOPPED = "stopped"  # its timer is not active, or not enabled


_SAID = {
    Drift.MISSING: "its units are not installed, so systemd does not start it as configured",
    Drift.EDITED: "its units were edited since they were installed",
    Drift.STALE: "its units are those of an older configuration",
    Drift.STOPPED: "its timer is stopped or disabled, so nothing starts the job",
}


@dataclass(frozen=True, slots=True)
class Survey:
    """What is wanted and what is there.

    `wanted` and `installed` are texts by path, `states` are those of our timers and of the unit that recovers.
    """

    calendars: Mapping[str, tuple[str, ...]]
    wanted: Mapping[str, str]
    installed: Mapping[str, str]
    written: Written
    states: Mapping[str, systemd.UnitState]

    @property
    def changes(self) -> units.Changes:
        """What an apply has to do to files."""
        return units.changes(self.wanted, self.installed)

    @property
    def timers(self) -> tuple[str, ...]:
        """The timers that are wanted."""
        return tuple(path for path in self.wanted if path.endswith(".timer"))

    @property
    def idle(self) -> tuple[str, ...]:
        """Wanted timers that would not elapse, now or after the next boot, though their files may be right."""
        return tuple(timer for timer in self.timers if not (self.states[timer].active and self.states[timer].decided))

    @property
    def outdated(self) -> tuple[str, ...]:
        """Wanted timers of which systemd has loaded something else than what their files say."""
        return tuple(timer for timer in self.timers if self.states[timer].needs_reload)

    def diff(self) -> str:
        """The changes to files, as `diff -u` shows them."""
        paths = (path for group in (self.changes.added, self.changes.changed, self.changes.removed) for path in group)
        return "".join(
            line if line.endswith("\n") else f"{line}\n"
            for path in sorted(paths)
            for line in difflib.unified_diff(  # a StringIO's lines end at \n alone
                list(io.StringIO(self.installed.get(path, ""))),
                list(io.StringIO(self.wanted.get(path, ""))),
                path if path in self.installed else "/dev/null",
                path if path in self.wanted else "/dev/null",
            )
        )

    def drift(self, job: str) -> Drift | None:
        """How the job's installed units differ from the configuration, None when they do not."""
        own = {path for path in (*self.wanted, *self.installed) if units.job_of(path) in ("", job)}
        if any(path not in self.installed for path in own & self.wanted.keys()):
            return Drift.MISSING
        differing = [path for path in own & self.installed.keys() if self.installed[path] != self.wanted.get(path)]
        if self.added_to(job) or any(
            digest(self.installed[path]) not in self.written.digests.get(path, ()) for path in differing
        ):
            return Drift.EDITED
        if differing:
            return Drift.STALE
        return Drift.STOPPED if {units.timer(job), units.offsite_timer(job)} & {*self.idle} else None

    def added_to(self, job: str) -> tuple[str, ...]:
        """The files by which somebody has added to the job's timers. They are not ours, and stay."""
        states = (self.states.get(timer) for timer in (units.timer(job), units.offsite_timer(job)))
        return tuple(path for state in states if state is not None for path in state.drop_ins)


def survey(installation: Installation) -> Survey:
    """Look at everything. ConfigError with all bad schedules, UnreachableError without a running systemd."""
    systemd.require(change=False)
    calendars = calendars_of(installation.config, installation.now())
    place = _place(installation)
    wanted = {**shared(), **units.common_files(place, installation.config.jobs.values())}
    for job in installation.config.jobs.values():
        offsites = installation.config.offsites_of(job)
        wanted |= units.unit_files(job, calendars[job.name], place, sent=bool(offsites))
        wanted |= offsite_files(job, offsites, place)
    return compared(UnitFiles(installation.state), calendars, wanted)


def compared(files: UnitFiles, calendars: Mapping[str, tuple[str, ...]], wanted: Mapping[str, str]) -> Survey:
    """What there is, beside what is wanted."""
    written = files.written()
    installed = files.ours(written)
    timers = sorted({path for path in (*wanted, *installed) if path.endswith(".timer")})
    return Survey(calendars, wanted, installed, written, systemd.states([*timers, units.RECOVER]))


def is_current(installation: Installation, job: Job) -> bool:
    """Whether the unit that runs a job knows of it what the configuration says; until then it may not write there."""
    wanted = units.drop_in_text(job, _place(installation), sent=bool(installation.config.offsites_of(job)))
    return UnitFiles(installation.state).text(units.drop_in(job.name)) == wanted


def _place(installation: Installation) -> units.UnitPlace:
    directory = installation.config.directory
    config = installation.config_file.absolute()
    return units.UnitPlace(
        tuple(dict.fromkeys((directory, os.path.realpath(directory)))),
        None if config == DEFAULT_CONFIG else str(config),
        tuple(each.rclone_config for each in installation.config.offsites.values() if each.rclone_config is not None),
    )


# ---- expressions -----------------------------------------------------------------------------------------------------


def calendars_of(config: Config, now: datetime) -> Mapping[str, tuple[str, ...]]:
    """The calendar lines of each job's schedule; every line elapses some day. ConfigError with all that do not."""
    found: dict[str, tuple[str, ...]] = {}
    problems: list[Problem] = []
    for job in config.jobs.values():
        lines: list[str] = []
        for expression in job.schedule:
            problem = problem_of(expression, now)
            if problem is None:
                lines += to_calendars(expression)
            else:
                problems.append(as_problem(job.name, problem))
        found[job.name] = tuple(dict.fromkeys(lines))
    if problems:
        raise ConfigError(problems)
    return found


def as_problem(job: str, error: BackupError) -> Problem:
    """What is wrong with a job's schedule, as a problem of the configuration."""
    return Problem("", join(("jobs", job, "schedule")), ". ".join(filter(None, (error.what, error.why))), error.hint)


def problem_of(expression: str, now: datetime) -> BackupError | None:
    """What is wrong with a schedule: it means nothing, systemd cannot read it, or a line never elapses.

    UnreachableError without systemd-analyze.
    """
    try:
        lines = to_calendars(expression)
    except ScheduleError as error:
        return BackupError(error.message, "", error.hint)
    for line in lines:
        try:
            if upcoming([line], 1, now):
                continue
        except BackupError as error:
            if error.exit_code != BackupError.exit_code:
                raise
            return error
        why = "" if line == expression else f'That is systemd\'s "{line}"'
        return BackupError(f'The schedule "{expression}" never elapses', why, "Look at its date")
    return None


def with_schedules(installation: Installation, error: ConfigError) -> ConfigError:
    """All that is wrong with a configuration, also what systemd alone can say of its schedules.

    Nothing else asks for that before the rest is right.
    """
    problems = list(error.problems)
    known = {problem.key for problem in problems}
    with suppress(BackupError):  # what cannot be read, and a systemd-analyze that is not there, are told already
        for job, expression in _expressions(config_files.read(installation.config_file).table):
            wrong = problem_of(expression, installation.now())
            if wrong is not None and (problem := as_problem(job, wrong)).key not in known:
                problems.append(problem)
    return ConfigError(problems)


def _expressions(table: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The schedules in a table that need not be right, each with its job."""
    jobs = table.get("jobs")
    for name, job in jobs.items() if isinstance(jobs, Mapping) else ():
        said = job.get("schedule") if isinstance(job, Mapping) else None
        yield from ((name, each) for each in (said if isinstance(said, list) else [said]) if isinstance(each, str))


def skipped(job: Job, now: datetime) -> Iterator[tuple[str, Gap]]:
    """The calendar lines that fall into an hour that clocks skip in the year to come, with the first such hour.

    A schedule that elapses again before as much time has passed as was skipped loses nothing.
    """
    lines = [line for expression in job.schedule for line in to_calendars(expression) if not line.startswith("@")]
    for line in lines:
        bare, zone = _zone_of(line)
        for gap in gaps(zone, now, _YEAR_DAYS):
            wall = upcoming([f"{bare} UTC"], 1, gap.start.replace(tzinfo=UTC) - _SECOND)
            if not wall or wall[0].replace(tzinfo=None) >= gap.end:
                continue
            real = upcoming(lines, 1, gap.moment - _SECOND)
            if not real or real[0] - gap.moment >= gap.length:
                yield line, gap
                break


def _zone_of(line: str) -> tuple[str, tzinfo]:
    """A calendar line without its zone, and the zone it is for."""
    bare, _, last = line.rpartition(" ")
    if bare and (last == "UTC" or "/" in last) and ":" not in last and "*" not in last:
        with suppress(ZoneInfoNotFoundError, ValueError):
            return bare, ZoneInfo(last)
    return line, local_zone().zone


def timer_findings(installation: Installation, jobs: Sequence[Job]) -> Sequence[Finding]:
    """What `check` says of the installed timers, where there should be any."""
    try:
        found = survey(installation) if _has_timers(installation) else None
    except BackupError:  # what is wrong with a schedule is said where it is checked
        found = None
    if found is None:
        return ()
    drifts = {job.name: found.drift(job.name) for job in jobs}
    timed = [job for job in jobs if job.schedule or drifts[job.name] or installation.config.offsites_of(job)]
    return [_timer_finding(found, job, drifts[job.name]) for job in timed]


def idle_jobs(installation: Installation) -> frozenset[str]:
    """The jobs that have a schedule, but no timer that starts them, where there should be one."""
    timers = {units.timer(job.name): job.name for job in installation.config.jobs.values() if job.schedule}
    if not timers or not _has_timers(installation):
        return frozenset()
    return frozenset(timers[timer] for timer, state in systemd.states(list(timers)).items() if not state.active)


def _has_timers(installation: Installation) -> bool:
    """Whether this machine has timers for the configuration: for its own, and for any other that was applied."""
    own = installation.config_file.absolute() == DEFAULT_CONFIG
    return systemd.running() and (own or bool(UnitFiles(installation.state).written().digests))


def _timer_finding(found: Survey, job: Job, drift: Drift | None) -> Finding:
    if drift is None:
        timer = units.timer(job.name) if job.schedule else units.offsite_timer(job.name)
        return Finding(job.name, Check.TIMER, Status.OK, f"{timer} is as configured")
    message = _SAID[drift]
    hint = "Install them: hiveden-backup schedule apply"
    if added := found.added_to(job.name):
        message = f"settings in {', '.join(added)} are added to its timer"
        hint = "They stay; remove them if only the configuration is to say when the job runs"
    return Finding(job.name, Check.TIMER, Status.WARN, message, hint)


# ---- what `show` prints ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """One job's schedule. `next` are the moments at which it elapses next, without the jitter."""

    job: str
    schedule: tuple[str, ...]
    calendars: tuple[str, ...]
    timezone: str
    next: tuple[datetime, ...]
    last_trigger: datetime | None
    drift: Drift | None

    def table(self) -> dict[str, Any]:
        """The row as `schedule show --json` prints it."""
        return {
            "job": self.job,
            "schedule": list(self.schedule),
            "calendars": list(self.calendars),
            "timezone": self.timezone,
            "next": [iso(moment) for moment in self.next],
            "last_trigger": iso(self.last_trigger) if self.last_trigger else None,
            "drift": self.drift,
        }


def rows(installation: Installation) -> Sequence[ScheduleRow]:
    """The schedule of every job; and of those that are not configured any more but still have a timer."""
    found = survey(installation)
    left = {units.job_of(path): Job(units.job_of(path)) for path in found.installed if units.job_of(path)}
    return [_row(installation, found, job) for job in ({**left, **installation.config.jobs}).values()]


def _row(installation: Installation, found: Survey, job: Job) -> ScheduleRow:
    calendars = found.calendars.get(job.name, ())
    state = found.states.get(units.timer(job.name))
    return ScheduleRow(
        job=job.name,
        schedule=job.schedule,
        calendars=calendars,
        timezone=local_zone().name,
        next=upcoming(calendars, _NEXT, installation.now()),
        last_trigger=state.last_trigger if state is not None else None,
        drift=found.drift(job.name),
    )

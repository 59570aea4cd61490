"""The units that belong to the jobs of a configuration: a timer for each schedule, a drop-in for each job. No I/O.

The service itself is a template that is shipped; see systemd/hiveden-backup@.service. Those that send backups away are
in `offsite_units.py`.
"""

from collections.abc import Iterable, Mapping, Sequence

from hiveden_backup.core import spans
from hiveden_backup.core.config.values import Job, PostgresSource
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.lines import split_lines
from hiveden_backup.core.paths import inside

TEMPLATE = "hiveden-backup@.service"
RECOVER = "hiveden-backup-recover.service"
SETTLE = "hiveden-backup-settle.service"
OFFSITE = "hiveden-backup-offsite@.service"
SHIPPED = (TEMPLATE, RECOVER, SETTLE, OFFSITE)
PROGRAM = "hiveden-backup"
HEADER = (
    "# Written by hiveden-backup schedule apply, which replaces it. Your own settings belong in a file beside it.\n"
)

_DROP_IN = "50-hiveden-backup.conf"
COMMON_DROP_INS = tuple(f"{unit}.d/{_DROP_IN}" for unit in (RECOVER, SETTLE))
TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - where a unit with PrivateTmp sees something else
_MARGIN_SECONDS = 60.0
_UNSAFE_IN_COMMAND = frozenset("\"'\\$")


@dataclass(frozen=True, slots=True)
class UnitPlace:
    """What the units of a configuration have in common: the backup directory, and the file if it is not the usual one.

    `directories` are the backup directory as configured and, behind symbolic links, as it is. What is `closed` opens
    places elsewhere, and no unit is to see it.
    """

    directories: tuple[str, ...]
    config: str | None = None
    closed: tuple[str, ...] = ()


def service(job: str) -> str:
    """The unit that runs a job."""
    return f"hiveden-backup@{job}.service"


def timer(job: str) -> str:
    """The unit that starts it."""
    return f"hiveden-backup@{job}.timer"


def drop_in(job: str) -> str:
    """The generated settings of the unit that runs a job, as a path below the directory of units."""
    return f"{service(job)}.d/{_DROP_IN}"


def offsite_service(job: str) -> str:
    """The unit that sends a job's backups to its offsites."""
    return f"hiveden-backup-offsite@{job}.service"


def offsite_timer(job: str) -> str:
    """The unit that starts it, where no run did."""
    return f"hiveden-backup-offsite@{job}.timer"


def offsite_drop_in(job: str) -> str:
    """As `drop_in`, of the unit that sends a job's backups."""
    return f"{offsite_service(job)}.d/{_DROP_IN}"


def job_of(path: str) -> str:
    """The job that a timer or a drop-in of ours belongs to, "" for anything else."""
    for start in ("hiveden-backup@", "hiveden-backup-offsite@"):
        for end in (".timer", f".service.d/{_DROP_IN}"):
            if path.startswith(start) and path.endswith(end):
                return path.removeprefix(start).removesuffix(end)
    return ""


# ---- what a job's units say ------------------------------------------------------------------------------------------


def unit_files(job: Job, calendars: Sequence[str], place: UnitPlace, *, sent: bool = False) -> Mapping[str, str]:
    """The generated units of a job's runs: their paths below the directory of units, and their texts.

    `sent` is whether its backups have an offsite to go to.
    """
    files = {drop_in(job.name): drop_in_text(job, place, sent=sent)}
    if calendars:
        files[timer(job.name)] = timer_text(job, calendars)
    return files


def common_files(place: UnitPlace, jobs: Iterable[Job]) -> Mapping[str, str]:
    """What is generated for no single job.

    Which configuration tells where Docker is, if it is not the usual one; and what the databases of all jobs need of
    the unit that finishes their restores.
    """
    named = [configuration_line(place.config)] if place.config is not None else []
    wanted = {RECOVER: named, SETTLE: [*named, *_for_databases([each for job in jobs for each in job.postgres])]}
    return {
        drop_in: f"{HEADER}[Service]\n" + "".join(f"{line}\n" for line in wanted[unit])
        for unit, drop_in in zip((RECOVER, SETTLE), COMMON_DROP_INS, strict=True)
        if wanted[unit]
    }


def timer_text(job: Job, calendars: Sequence[str]) -> str:
    """The timer that starts a job at `calendars`."""
    lines = [
        "[Unit]",
        f"Description=Schedule of the backup job {job.name}",
        "",
        "[Timer]",
        *(f"OnCalendar={escaped(calendar)}" for calendar in calendars),
        f"Persistent={_flag(job.catch_up)}",
        f"RandomizedDelaySec={spans.text(job.jitter)}",
        "AccuracySec=1s",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return HEADER + "".join(f"{line}\n" for line in lines)


def drop_in_text(job: Job, place: UnitPlace, *, sent: bool = False) -> str:
    """What the template does not know of a job: its time limits, where it writes, and the privileges only it needs."""
    stopping = job.stop_timeout + job.start_timeout + _MARGIN_SECONDS
    lines = [
        "[Unit]",
        *(f"RequiresMountsFor={word(path)}" for path in place.directories),
        *([f"OnSuccess={offsite_service(job.name)}"] if sent else []),
        "",
        "[Service]",
        f"TimeoutStartSec={spans.text(job.timeout)}",
        "# To start the containers again, after the run was told to end:",
        f"TimeoutStopSec={spans.text(stopping)}",
        "# The dash: a disk that vanishes must not keep the containers down.",
        *(f"ReadWritePaths={word(f'-{path}')}" for path in place.directories),
    ]
    if place.config is not None:
        lines.append(configuration_line(place.config))
    if _needs_temporary(job, place):
        lines += [
            "# The job names something in /tmp or /var/tmp: the machine's own, not the unit's.",
            "PrivateTmp=no",
            f"ReadWritePaths={' '.join(f'-{top}' for top in TEMPORARY)}",
        ]
    lines += _for_databases(job.postgres)
    return HEADER + "".join(f"{line}\n" for line in lines)


def _for_databases(sources: Sequence[PostgresSource]) -> list[str]:
    """The privileges that only these servers ask for."""
    lines = []
    if any(source.container is not None for source in sources):
        lines += [
            "# The server's socket lies in the container, behind /proc/PID/root.",
            "CapabilityBoundingSet=CAP_SYS_PTRACE",
        ]
    if any(source.os_user is not None for source in sources):
        lines += [
            "# The server asks which account connects; and what runs as that account must be ended, too.",
            "CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL",
            "SystemCallFilter=@setuid",
        ]
    return lines


def configuration_line(file: str) -> str:
    """The setting that tells a unit's program which configuration is meant."""
    return f"Environment={word(f'HIVEDEN_BACKUP_CONFIG={file}')}"


def _needs_temporary(job: Job, place: UnitPlace) -> bool:
    """Whether the job reads or writes anything in, or above, the directories that a unit may have for itself."""
    seen = [*place.directories, *job.paths]
    for source in job.postgres:
        hosts = source.parameters.get("host", "").split(",")
        seen += [*(host for host in hosts if host.startswith("/")), *([source.passfile] if source.passfile else [])]
    return any(inside(path, top) or inside(top, path) for path in seen for top in TEMPORARY)


def installed_text(shipped: str, executable: str) -> str:
    """A shipped unit for a program that no package put where systemd looks: with its absolute path."""
    lines = [
        f"{key}={_command(executable)} {rest.removeprefix(f'{PROGRAM} ')}"
        if key in ("ExecStart", "ExecStopPost") and rest.startswith(f"{PROGRAM} ")
        else line
        for line in split_lines(shipped)
        for key, _, rest in [line.partition("=")]
    ]
    return HEADER + "".join(f"{line}\n" for line in lines)


# ---- how systemd reads it --------------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """`text` with systemd's specifiers taken literally."""
    return text.replace("%", "%%")


def word(text: str) -> str:
    """One word of a list, whatever is in it."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped(quoted)}"'


def _command(executable: str) -> str:
    """A program's absolute path as the first word of a command. ValueError when systemd cannot be told it."""
    if not executable.startswith("/") or not executable.isprintable() or _UNSAFE_IN_COMMAND & set(executable):
        raise ValueError(f"no unit can start {executable!r}")
    return f'"{escaped(executable)}"' if " " in executable else escaped(executable)


def _flag(value: bool) -> str:  # noqa: FBT001 - a value, not an option
    return "yes" if value else "no"


# ---- what differs ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Changes:
    """What an apply has to do: paths below the directory of units, sorted."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def changes(wanted: Mapping[str, str], installed: Mapping[str, str]) -> Changes:
    """From the units of ours that are installed to those that are wanted."""
    return Changes(
        tuple(sorted(wanted.keys() - installed.keys())),
        tuple(sorted(path for path in wanted.keys() & installed.keys() if wanted[path] != installed[path])),
        tuple(sorted(installed.keys() - wanted.keys())),
    )

"""Commands that systemd runs for us in units of their own, which outlive whoever asked; the journal has their log."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import StorageError, UnreachableError
from hiveden_backup.core.lines import split_lines
from hiveden_backup.core.model import Trigger
from hiveden_backup.core.paths import inside
from hiveden_backup.core.schedule.units import TEMPORARY
from hiveden_backup.host.disk.durable import translated, write_durably
from hiveden_backup.host.process import Command, ProcessError, find_program, run

_TIMEOUT_SECONDS = 60.0
_EXTRACTING = ("DAC_READ_SEARCH", "DAC_OVERRIDE", "FOWNER", "CHOWN", "FSETID", "SETFCAP", "MKNOD", "SYS_ADMIN")
_SHOWN = "LoadState,ActiveState,Result,InvocationID,Job"


@dataclass(frozen=True, slots=True)
class Unit:
    """What systemd says of a unit. `loaded` is false when it knows no such unit (any more)."""

    loaded: bool
    active: str
    result: str
    invocation: str
    queued: bool

    @property
    def busy(self) -> bool:
        """Whether it runs, or is about to."""
        return self.queued or self.active in {"activating", "active", "deactivating", "reloading"}

    @property
    def ending(self) -> bool:
        """Whether its main process has ended, and systemd tidies up behind it."""
        return self.active == "deactivating"


def start_command(
    unit: str,
    argv: Sequence[str],
    *,
    description: str,
    environment: Mapping[str, str],
    job: str = "",
    afterwards: Sequence[str],
    writes: Sequence[str] | None = None,
) -> None:
    """Run a command in the new unit `unit` and return as soon as it was started.

    `job` is whose entries in the journal its own are. `afterwards` is a command that systemd runs when the first has
    ended, however it did. With `writes`, it may only unpack files, there and below, and talk to nobody.
    """
    options = [f"--unit={unit}", "--quiet", "--collect", f"--description={description}", "--property=UMask=0077"]
    options += ["--property=SyslogIdentifier=hiveden-backup"]
    options += ["--property=MemoryMax=75%", "--property=TasksMax=2048"]
    options += ["--property=Type=exec", "--property=KillMode=mixed"]
    # Lines on stderr belong to the unit; what a process sends the journal just before its end may be nobody's.
    options.append("--property=UnsetEnvironment=JOURNAL_STREAM")
    if writes is not None:
        options += [f"--property={each}" for each in confined(writes)]
    if job:
        options.append(f"--property=LogExtraFields=HIVEDEN_JOB={job}")
    options += [f"--setenv={name}={value}" for name, value in environment.items()]
    options.append(f"--property=ExecStopPost={' '.join(_quoted(word) for word in afterwards)}")
    _systemd(["systemd-run", *options, "--", *(word.replace("$", "$$") for word in argv)], f"starting {unit}")


def confined(writes: Sequence[str]) -> list[str]:
    """The settings of a unit that writes to these directories alone, with what an extraction of any files needs.

    The system calls and the devices stay as they are, for what makes nodes and sets what only the kernel trusts.
    """
    temporary = any(inside(path, top) for path in writes for top in TEMPORARY)
    words = " ".join(_word(f"-{path}") for path in [*writes, *(TEMPORARY if temporary else ())])
    return [  # of what is said twice of one directory, systemd takes that it is read-only
        f"ProtectSystem={'full' if '/' in writes else 'strict'}",
        f"ProtectHome={'no' if '/home' in writes else 'read-only'}",
        f"PrivateTmp={'no' if temporary else 'yes'}",
        f"ReadWritePaths={words}",
        f"CapabilityBoundingSet={' '.join(f'CAP_{name}' for name in _EXTRACTING)}",
        "NoNewPrivileges=yes",
        "PrivateNetwork=yes",
        "RestrictAddressFamilies=AF_UNIX",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "LockPersonality=yes",
        "ProtectControlGroups=yes",
        "ProtectKernelTunables=yes",
        "ProtectKernelLogs=yes",
        "ProtectHostname=yes",
        "ProtectProc=invisible",
        "SystemCallArchitectures=native",
        "SystemCallFilter=~@mount @module @reboot @swap @debug @raw-io @obsolete @clock @cpu-emulation",
        "SystemCallErrorNumber=EPERM",
    ]


def _word(path: str) -> str:
    """One word of a list for systemd-run, which takes specifiers as they are."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@contextlib.contextmanager
def told(runtime: Path | None, job: str) -> Iterator[None]:
    """Let runs of the job that begin in the block know that the API made them; where nobody looks, nothing is said."""
    note = runtime / f"{job}.env" if runtime is not None else None
    if note is not None:
        with translated(f"writing {note}", unwritable=StorageError):
            write_durably(note, f"HIVEDEN_BACKUP_TRIGGER={Trigger.API}\n".encode())
    try:
        yield
    finally:
        if note is not None:
            note.unlink(missing_ok=True)


def start(unit: str) -> None:
    """Put the start of an installed unit into systemd's queue."""
    _systemd(["systemctl", "start", "--no-block", "--", unit], f"starting {unit}")


def show(unit: str) -> Unit:
    """What systemd says of a unit now."""
    said = _systemd(["systemctl", "show", f"--property={_SHOWN}", "--", unit], f"asking for {unit}")
    values = dict(line.partition("=")[::2] for line in split_lines(said))
    return Unit(
        loaded=values.get("LoadState") == "loaded",
        active=values.get("ActiveState", ""),
        result=values.get("Result", ""),
        invocation=values.get("InvocationID", ""),
        queued=values.get("Job", "") not in {"", "0"},
    )


def _systemd(argv: Sequence[str], doing: str) -> str:
    try:
        return run(Command([find_program(argv[0]), *argv[1:]]), timeout=_TIMEOUT_SECONDS).stdout.decode(
            "utf-8", "replace"
        )
    except ProcessError as error:
        why = "; ".join(line.strip() for line in split_lines(error.stderr.strip())) or str(error)
        raise UnreachableError(
            f"{doing[:1].upper()}{doing[1:]} failed", re.sub(r"\s+", " ", why), "Look at `journalctl -xe`"
        ) from error


def _quoted(word: str) -> str:
    """A word of a command line in a unit's setting: quoted, and with no variable in it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'

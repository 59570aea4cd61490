"""Acts outlive the client and this service: runs in the job's own unit, all else as commands in transient ones.

Waiting costs no thread, so any number of clients may wait while others read.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from hiveden_backup.api.launcher import Launcher
from hiveden_backup.api.problems import ActError
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BusyError, UnreachableError
from hiveden_backup.core.model import Result
from hiveden_backup.core.names import is_backup_id, is_job_name
from hiveden_backup.core.schedule.units import service
from hiveden_backup.host.state.records import RunRecord
from hiveden_backup.host.systemd import transient_units as transient
from hiveden_backup.host.systemd.last_words import Ended

_T = TypeVar("_T")
PATIENCE = 30.0
"""How long a client waits for the result of what it asked for."""

_START_SECONDS = 30.0
_POLL_SECONDS = 0.2
_JOB_RUN = re.compile(r"([^.]+)\.([0-9a-f]{32}|[^.]+)")
_INVOCATION = re.compile(r"[0-9a-f]{32}")


class CommandKind(StrEnum):
    """What clients ask for that is no run of a job; the name of its run begins with it."""

    RESTORE = "restore"
    DELETE = "delete"
    VERIFY = "verify"
    INIT = "init"
    SCHEDULE = "schedule"
    ADOPT = "adopt"


_COMMAND_RUN = re.compile(rf"(?:{'|'.join(CommandKind)})-[0-9a-f]{{12}}")


@dataclass(frozen=True, slots=True)
class JobRun:
    """A run of a job by its unit. `invocation` is systemd's name for it, which its record has, too."""

    job: str
    invocation: str

    @property
    def id(self) -> str:
        """What clients call it."""
        return f"{self.job}.{self.invocation}"

    @property
    def unit(self) -> str:
        """The job's unit."""
        return service(self.job)


def command_unit(run: str) -> str:
    """The transient unit of a command."""
    return f"hiveden-backup-{run}.service"


# ---- runs of jobs ----------------------------------------------------------------------------------------------------


async def run_job(launcher: Launcher, job: str, wait: float) -> tuple[JobRun, RunRecord | None]:
    """Start the job's unit, and wait; the run's record, None when it goes on.

    BusyError when it runs already. ActError when the run failed.
    """
    unit = service(job)
    before = await _until(lambda: _settled(launcher, job), _START_SECONDS)
    if before is None or before.busy:
        raise BusyError(f"The job {job} is busy", "A run of it goes on", "Wait until that is done, then ask again")
    with transient.told(launcher.runtime, job):
        await run_in_threadpool(transient.start, unit)
        run = JobRun(job, await _started(unit, before.invocation))
    record = await _until(lambda: job_run_result(launcher, run), wait)
    if record is None or record.result is Result.RUNNING:
        return run, None
    if record.backup is None:
        raise ActError(record.error, record.exit_code or 1, run.id)
    return run, record


def _settled(launcher: Launcher, job: str) -> transient.Unit | None:
    """What systemd says of the job's unit; None when its run is done, and only systemd has something to tidy up."""
    unit = transient.show(service(job))
    if not unit.busy or not unit.invocation:
        return unit
    record = find_record(launcher, JobRun(job, unit.invocation))
    done = record is not None and record.result is not Result.RUNNING
    return None if unit.ending or done else unit


async def _started(unit: str, before: str) -> str:
    """The invocation that systemd made of a start; it may have to wait for what the unit needs."""

    def look() -> str | None:
        found = transient.show(unit)
        if found.invocation not in {"", before}:
            return found.invocation
        if not found.busy:
            raise UnreachableError(
                f"systemd did not start {unit}",
                f"The result is {found.result or 'unknown'}: perhaps the backup directory's disk is not mounted",
                f"Look at `systemctl status {unit}`",
            )
        return None

    invocation = await _until(look, _START_SECONDS)
    if invocation is None:
        raise UnreachableError(
            f"{unit} has waited to be started for {_START_SECONDS:g} seconds",
            "Something that it comes after is not up yet",
            "Look at `systemctl list-jobs`",
        )
    return invocation


def job_run_result(launcher: Launcher, run: JobRun) -> RunRecord | None:
    """The record of a run that has ended, and whose unit is ready for the next one; None while it goes on."""
    if goes_on(run):
        return None
    record = find_record(launcher, run)
    if record is None or record.result is Result.RUNNING:
        raise ActError(_wordless(run.unit, transient.show(run.unit).result), 1, run.id)
    return record


def goes_on(run: JobRun) -> bool:
    """Whether systemd knows the run as one that has not ended."""
    unit = transient.show(run.unit)
    return unit.busy and unit.invocation == run.invocation


def find_record(launcher: Launcher, run: JobRun) -> RunRecord | None:
    """The record of a run."""
    return next(
        (each for _, each in launcher.installation.records.runs(run.job) if each.invocation == run.invocation), None
    )


# ---- commands --------------------------------------------------------------------------------------------------------


async def command(
    launcher: Launcher,
    kind: CommandKind,
    arguments: Sequence[str],
    wait: float,
    *,
    description: str,
    job: str = "",
    module: str = "",
    afterwards: Sequence[str] = (),
    writes: Sequence[str] | None = None,
) -> tuple[str, str | None]:
    """Run a command line of ours, or of `module`, in a transient unit, and wait; with `writes`, a confined one.

    The name of the run, and what it said last if it has ended. ActError when it failed.
    """
    run = f"{kind}-{uuid.uuid4().hex[:12]}"
    await run_in_threadpool(launcher.last_words.make_room)
    await run_in_threadpool(
        transient.start_command,
        command_unit(run),
        launcher.command(arguments, module=module),
        description=description,
        environment={**launcher.environment, **launcher.last_words.environment(run)},
        job=job,
        afterwards=launcher.last_words.note(run, launcher.command(afterwards) if afterwards else ()),
        writes=[*writes, str(launcher.known.state)] if writes is not None else None,
    )
    ended = await _until(lambda: command_result(launcher, run), wait)
    if ended is not None and ended.status:
        raise ActError(ended.words, ended.status, run)
    return run, ended.words if ended is not None else None


def command_result(launcher: Launcher, run: str) -> Ended | None:
    """How a command ended, with words where it failed; None while it goes on."""
    unit = command_unit(run)
    if transient.show(unit).busy:
        return None
    ended = launcher.last_words.ended(run)
    if ended is None:
        return Ended(1, "", f"Nothing tells how {unit} ended.")
    return replace(ended, words=_wordless(unit, ended.result)) if ended.status and not ended.words else ended


def _wordless(unit: str, result: str) -> str:
    return f"The run ended without a word; systemd says {result or 'nothing'}. Look at `journalctl -u {unit}`."


# ---- the names of runs -----------------------------------------------------------------------------------------------


def is_command_run(text: str) -> bool:
    """Whether a run's name is that of a command."""
    return _COMMAND_RUN.fullmatch(text) is not None


def job_run_of(text: str) -> tuple[str, str] | None:
    """The job, and the record's moment or the invocation, in the name of a job's run; None when it is none."""
    match = _JOB_RUN.fullmatch(text)
    if match is None or not is_job_name(match[1]):
        return None
    return (match[1], match[2]) if is_backup_id(match[2]) or _INVOCATION.fullmatch(match[2]) else None


async def _until(look: Callable[[], _T | None], seconds: float) -> _T | None:
    """What `look` finds, asked again and again for that long; None when it finds nothing."""
    deadline = time.monotonic() + seconds
    while seconds > 0:
        found = await run_in_threadpool(look)
        if found is not None:
            return found
        if time.monotonic() >= deadline:
            break
        await asyncio.sleep(_POLL_SECONDS)
    return None

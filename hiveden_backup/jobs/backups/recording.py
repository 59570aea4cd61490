"""The record that a run, an in-place restore or an undo leaves: begun and ended while the job is locked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from hiveden_backup.core import events
from hiveden_backup.core.errors import BackupError, BusyError, Interrupted
from hiveden_backup.core.model import Result, RunKind
from hiveden_backup.host.log import log
from hiveden_backup.host.state.locks import ExclusiveJob
from hiveden_backup.host.state.records import RunRecord
from hiveden_backup.jobs.installation import Installation


def done(record: RunRecord, problems: Sequence[BackupError]) -> RunRecord:
    """The record of what came to its end, with these problems left."""
    return replace(
        record,
        result=Result.PARTIAL if problems else Result.SUCCESS,
        exit_code=1 if problems else 0,
        error=" ".join(str(problem) for problem in problems),
    )


class Recording:
    """What becomes of one act, for the block from before its lock to after it; what is raised goes on.

    `record` is to be what the act ended with, before `begun` ends. An act that does not come to its lock leaves a
    record too.
    """

    def __init__(self, installation: Installation, kind: RunKind, job: str, backup: str | None = None) -> None:
        self._installation = installation
        self._path: Path | None = None
        self._ended = False
        self.record = RunRecord(
            job,
            installation.now(),
            backup=backup,
            trigger=installation.trigger,
            invocation=installation.invocation,
            kind=kind,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._break_off(error)

    @contextmanager
    def begun(self, job: ExclusiveJob) -> Iterator[None]:
        """The record is there, and says how the block ended before the lock is given back."""
        records = self._installation.records
        self._path = records.begin(self.record)
        try:
            records.mark_killed(job, self._installation.now(), self._path)
            yield
        except BaseException as error:
            self._break_off(error)
            raise
        self._end()

    def _break_off(self, error: BaseException) -> None:
        if self._ended:
            return
        match error:
            case BackupError():
                result = Result.BUSY if isinstance(error, BusyError) else Result.FAILED
                self.record = replace(self.record, result=result, exit_code=error.exit_code, error=str(error))
            case Interrupted():
                what = f"The {self.record.kind} was ended by signal {error.signal_number}."
                code = error.exit_code
                self.record = replace(self.record, result=Result.INTERRUPTED, exit_code=code, error=what)
                log.event(events.Failed(what, code, self.record.job, result=Result.INTERRUPTED))
            case _:  # a defect of ours, which shows itself
                what = f"{type(error).__name__}: {error}"
                self.record = replace(self.record, result=Result.FAILED, exit_code=1, error=what)
        self._end()

    def _end(self) -> None:
        self._ended = True
        records = self._installation.records
        try:
            path = self._path or records.begin(self.record)
            records.write(path, replace(self.record, finished=self._installation.now()))
        except BackupError as error:  # what came of the act matters more
            log.error(str(error), job=self.record.job)

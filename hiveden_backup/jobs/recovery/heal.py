"""What killed runs and restores of a job left, put right before anything else is done with the job."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from hiveden_backup.core.backup.layout import MARKER
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import (
    BackupError,
    CorruptError,
    DirectoryError,
    StorageError,
    UnreachableError,
    common_exit_code,
)
from hiveden_backup.core.restore_record import Act
from hiveden_backup.host.disk.durable import fsync_directory, translated
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.docker.engine import connect
from hiveden_backup.host.log import log
from hiveden_backup.host.state.locks import ExclusiveJob, job_lock
from hiveden_backup.jobs.backups.ownership import OwnJob, claimed
from hiveden_backup.jobs.backups.prune import collect_garbage
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.recovery.mover import Mover, Settled, settle_each, unfinished
from hiveden_backup.jobs.recovery.mover import tell as tell_settled
from hiveden_backup.jobs.services import debts
from hiveden_backup.jobs.services.debts import Payment, pay, tell


@dataclass(frozen=True, slots=True)
class Healed:
    """In-place restores that were finished or taken back; and what could not be: debts, or to take one back."""

    acts: tuple[Act, ...]
    problems: tuple[BackupError, ...]


@contextmanager
def healed(
    installation: Installation, job: str, told: Callable[[Healed], None]
) -> Iterator[tuple[ExclusiveJob, Healed]]:
    """The job for the block, locked, and all that was broken off brought to its end; `told` hears of that at once."""
    with job_lock(installation.state, job) as locked:
        settled = settle(installation, locked)
        told(settled)
        yield locked, settled


def settle(installation: Installation, job: ExclusiveJob, *, start_timeout: float = 60.0) -> Healed:
    """Finish the job's in-place restores that were broken off, then pay the ledger; the debts that stay are problems.

    BackupError when one is half done and cannot be finished: a mixture of old and new is not to be backed up. One that
    cannot be taken back is a problem.
    """
    acts: list[Act] = []
    problems: list[BackupError] = []
    for act in Mover(installation, job).settle_all():
        if act.error is not None or act.act is None:
            error = act.error or BackupError(str(act))
            if act.act is not None and not act.act.half_done:
                problems.append(error)
                continue
            raise unfinished(act.act, error) if act.act is not None else error
        tell_settled(act)
        acts.append(act.act)

    payments = pay(partial(connect, installation.docker), installation.ledger, job, start_timeout=start_timeout)
    for payment in payments:
        tell(payment)
    problems += (payment.error for payment in payments if payment.error is not None)
    return Healed(tuple(acts), tuple(problems))


@dataclass(frozen=True, slots=True)
class Recovery:
    """What `recover` came to: acts that had been broken off, and what became of debts."""

    settled: tuple[Settled, ...]
    payments: tuple[Payment, ...]

    @property
    def nothing(self) -> bool:
        """Whether nothing was owed."""
        return not self.settled and not self.payments

    @property
    def exit_code(self) -> int:
        """What a command ends with."""
        codes = [each.error.exit_code for each in self.settled if each.error is not None]
        return common_exit_code([*codes, *(payment.exit_code for payment in self.payments)])


def recover(
    installation: Installation,
    job: str | None,
    *,
    patience: Sequence[float],
    settled: Callable[[Settled], None],
    paid: Callable[[Payment], None],
) -> Recovery:
    """Settle and pay what `job`, or every job, has left, as often as `patience` has numbers; how the last time ended.

    They tell for how many seconds servers that do not answer are waited for, which alone is a reason to try again.
    `settled` and `paid` hear of each thing at once. The jobs' locks are taken here, and busy jobs skipped.
    """
    recovered = Recovery((), ())
    for seconds in patience:
        acts = []
        for each in settle_each(installation, job, seconds):
            acts.append(each)
            settled(each)
        waiting = {each.job for each in acts if each.error is not None and (each.act is None or each.act.half_done)}
        payments = debts.recover(partial(connect, installation.docker), installation.ledger, job, waiting=waiting)
        for payment in payments:
            paid(payment)
        recovered = Recovery(tuple(acts), payments)
        if not any(isinstance(each.error, UnreachableError) for each in acts):
            break
    return recovered


def sweep(installation: Installation, job: ExclusiveJob, *, anew: bool = False) -> None:
    """Remove what only a run in progress needs: its spool, and in the backup directory what no backup names.

    Archives that a failed run left without a checkpoint go too: on a full disk they would stand in their own way. Who
    begins `anew` lets the checkpoint go as well.
    ForeignError, and the backup directory is left alone, when the job's part of it is another host's.
    """
    spool = installation.spool(job.name)
    with translated(f"clearing the spool {spool}", unwritable=StorageError), suppress(FileNotFoundError):
        installation.broken_off(job.name).unlink(missing_ok=True)  # first: it says that the rest is there
        fsync_directory(spool)
        shutil.rmtree(spool)
    with translated(f"sweeping the leftovers of {job.name}"):
        if not (Path(installation.config.directory) / MARKER).exists():
            return
        directory = BackupDirectory(Path(installation.config.directory), "")
        if directory.job_path(job.name).is_dir():
            _sweep_directory(installation, claimed(installation, directory, job), anew=anew)


def _sweep_directory(installation: Installation, job: OwnJob, *, anew: bool) -> None:
    if anew:
        job.directory.drop_checkpoint(job.name)
    for name in job.directory.sweep(job.name):
        log.info(f"Swept {name}", job=job.name)
    with suppress(CorruptError, DirectoryError):  # then none goes; the prune at the end says so
        for name in collect_garbage(installation, BackupDirectory.open(job.directory.path), job.name):
            log.info(f"Swept {name}", job=job.name)

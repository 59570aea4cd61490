"""`recover`: what a killed run or restore left, put right."""

from typing import Mapping, Optional  # noqa: UP035 - typer 0.7 reads annotations of its own time

import typer

from hiveden_backup.cli import completion, log, output
from hiveden_backup.cli.app import command, options, report
from hiveden_backup.cli.surroundings import installation
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.errors import BackupError
from hiveden_backup.host.systemd import journal
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.recovery import expiry, heal, mover
from hiveden_backup.jobs.recovery.mover import Settled
from hiveden_backup.jobs.services import debts
from hiveden_backup.jobs.services.debts import Payment

_BOOT_SECONDS = 300.0


@command("recover")
def recover(
    job: Optional[str] = typer.Option(
        None, "--job", metavar="JOB", help="Only what this job owes.", autocompletion=completion.jobs
    ),
) -> None:
    """Put right what a killed run or restore left: finish or take back the restore, start the containers.

    What in-place restores replaced is removed when its time is over.
    """
    surroundings = installation()
    jobs = _jobs_if_any(surroundings)
    log.configure(verbose=options.verbose, quiet=options.quiet)
    in_journal = journal.is_stderr()
    # A person can try again, a unit after a boot cannot: but first comes what can be done at once.
    recovered = heal.recover(
        surroundings,
        job,
        patience=(0.0, _BOOT_SECONDS) if in_journal else (0.0,),
        settled=mover.tell if in_journal else _print_act,
        paid=debts.tell if in_journal else _print_payment,
    )
    expiry.expire(surroundings, jobs)
    if recovered.nothing and not options.quiet:
        output.say("Nothing is owed.")
    raise typer.Exit(recovered.exit_code)


def _print_act(settled: Settled) -> None:
    output.say(f"{settled.job}: {settled}")


def _print_payment(payment: Payment) -> None:
    detail = f" ({payment.detail})" if payment.detail else ""
    output.say(f"{payment.job}: container {payment.container}: {payment.outcome}{detail}")


def _jobs_if_any(surroundings: Installation) -> Mapping[str, Job]:
    """The configured jobs. Debts must be paid even when the configuration is broken: Docker is at its default place."""
    try:
        return surroundings.config.jobs
    except BackupError as error:
        report(error)
        return {}

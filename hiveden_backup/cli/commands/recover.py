"""`recover`: what a killed run or restore left, put right."""

from typing import TYPE_CHECKING, Optional

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command, now, options, report, state_directory
from hiveden_backup.core.errors import BackupError, UnreachableError, common_exit_code

if TYPE_CHECKING:
    from hiveden_backup.core.model import Config

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
    from hiveden_backup.cli import log
    from hiveden_backup.host.state.ledger import Ledger
    from hiveden_backup.host.systemd import journal
    from hiveden_backup.jobs.recovery import mover as acts
    from hiveden_backup.jobs.services.debts import recover as pay_all
    from hiveden_backup.jobs.services.debts import tell

    config = _config_if_any()
    address = config.docker if config is not None else None

    def connect():  # type: ignore[no-untyped-def] # noqa: ANN202 - the door to Docker, opened only when something is owed
        from hiveden_backup.host.docker.engine import connect as dial

        return dial(address)

    log.configure(verbose=options.verbose, quiet=options.quiet)
    mover = acts.Mover(state_directory(), address, now)
    # A person can try again, a unit after a boot cannot: but first comes what can be done at once.
    for patience in (0.0, _BOOT_SECONDS) if journal.is_stderr() else (0.0,):
        settled = list(acts.settle_each(mover, job, patience))
        for each in settled:
            if journal.is_stderr():
                acts.tell(each)
            else:
                typer.echo(output.printable(f"{each.job}: {each}"))
        waiting = {each.job for each in settled if each.error is not None and (each.act is None or each.act.half_done)}
        payments = pay_all(connect, Ledger(state_directory()), job, waiting=waiting)
        for payment in payments:
            if journal.is_stderr():
                tell(payment)
                continue
            detail = f" ({payment.detail})" if payment.detail else ""
            typer.echo(f"{payment.job}: container {payment.container}: {payment.outcome}{detail}")
        if not any(isinstance(each.error, UnreachableError) for each in settled):
            break
    acts.expire(mover, config.jobs if config is not None else {})
    if not payments and not settled and not options.quiet:
        typer.echo("Nothing is owed.")
    codes = [each.error.exit_code for each in settled if each.error is not None]
    codes += (payment.exit_code for payment in payments)
    raise typer.Exit(common_exit_code(codes))


def _config_if_any() -> "Optional[Config]":
    """The configuration. Debts must be paid even when it is broken: then Docker is at its default place."""
    try:
        return options.load()
    except BackupError as error:
        report(error)
        return None

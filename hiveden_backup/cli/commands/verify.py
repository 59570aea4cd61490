"""`verify`: whether backups are still what was written."""

from typing import List, Optional  # noqa: UP035 - typer 0.7 reads annotations of its own time

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command, report
from hiveden_backup.cli.parameters import BACKUP_MEANING, JSON
from hiveden_backup.cli.surroundings import installation
from hiveden_backup.cli.watched import watched
from hiveden_backup.core.backup.signature import Signature
from hiveden_backup.core.errors import BackupError, CorruptError, UsageError, common_exit_code
from hiveden_backup.core.model import Verdict
from hiveden_backup.core.progress import Step
from hiveden_backup.jobs.backups import catalog
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.backups.verify import Verifier


@command("verify")
def verify(
    backups: Optional[List[str]] = typer.Argument(None, help=BACKUP_MEANING, autocompletion=completion.backups),  # noqa: UP006
    all_backups: bool = typer.Option(False, "--all", help="Verify every backup."),
    as_json: bool = JSON,
) -> None:
    """Check signature and digests, and decode everything.

    Exit 65 when something is damaged; the error names it.
    """
    if bool(backups) == all_backups:
        raise UsageError("Say which backups to verify", "", "Name them, or give --all")
    directory = installation().directory
    chosen = (
        [catalog.Backup(job, each) for job in directory.jobs() for each in directory.backups(job)]
        if all_backups
        else [catalog.resolve(directory, text) for text in backups or []]
    )
    if not chosen and not as_json:
        output.say("There are no backups yet.")
    rows, codes = [], []
    with watched() as surroundings, Verifier(surroundings) as verifier:
        surroundings.progress.begin(Step.VERIFY)
        for each in chosen:
            signature, error = _verified(verifier, each)
            codes.append(error.exit_code if error is not None else 0)
            verdict = _verdict(error)
            said = {"result": verdict, "error": str(error) if error else None, "signature": signature.table()}
            rows.append({"id": each.id, "job": each.job, **said})
            if not as_json:
                output.say(f"{each}: {verdict}, {signature}")
            if error is not None:
                report(error)
    if as_json:
        output.print_json(rows)
    raise typer.Exit(common_exit_code(codes))


def _verified(verifier: Verifier, backup: Backup) -> tuple[Signature, Optional[BackupError]]:
    try:
        return verifier.verify(backup), None
    except BackupError as error:
        return verifier.signature(backup), error


def _verdict(error: Optional[BackupError]) -> Verdict:
    if error is None:
        return Verdict.OK
    return Verdict.CORRUPT if isinstance(error, CorruptError) else Verdict.INCONCLUSIVE

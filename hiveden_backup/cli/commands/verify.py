"""`verify`: whether backups are still what was written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, List, Optional  # noqa: UP035 - typer 0.7 reads annotations of its own time

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command, report
from hiveden_backup.cli.elsewhere import AS_OF, FROM, HOST, IDENTITY, RCLONE_CONFIG, From, Source
from hiveden_backup.cli.parameters import BACKUP_MEANING, JSON
from hiveden_backup.cli.watched import watched
from hiveden_backup.core.backup.place import Place
from hiveden_backup.core.errors import UsageError, common_exit_code
from hiveden_backup.core.model import Verdict
from hiveden_backup.core.names import iso
from hiveden_backup.jobs.backups import catalog
from hiveden_backup.jobs.backups.reader import Reader
from hiveden_backup.jobs.backups.verify import Verified, Verifier
from hiveden_backup.jobs.backups.whereabouts import Places


@command("verify")
def verify(  # noqa: PLR0917 - typer reads it
    backups: Optional[List[str]] = typer.Argument(None, help=BACKUP_MEANING, autocompletion=completion.backups),  # noqa: UP006
    all_backups: bool = typer.Option(False, "--all", help="Verify every backup."),
    changed: bool = typer.Option(
        False, "--changed", help="Read only archives that no verify has read yet. Every backup, where none is named."
    ),
    offsite: Optional[str] = FROM,
    identity: Optional[Path] = IDENTITY,
    as_of: Optional[str] = AS_OF,
    host: Optional[str] = HOST,
    rclone_config: Optional[Path] = RCLONE_CONFIG,
    as_json: bool = JSON,
) -> None:
    """Check signature and digests, and decode everything. Several archives are read at once, each once for all backups.

    Exit 65 when something is damaged; the error names it.
    """
    if bool(backups) == all_backups and (all_backups or not changed):
        raise UsageError("Say which backups to verify", "", "Name them, or give --all")
    with From(offsite, identity, as_of, host, rclone_config).reading() as there:
        raise typer.Exit(_verify(there, backups or (), changed=changed, as_json=as_json))


def _verify(there: Source, backups: Sequence[str], *, changed: bool, as_json: bool) -> int:
    directory = there.installation.directory
    some = [there.resolve(text) for text in backups]
    errors = there.bring(some if backups else None)
    for error in errors:
        report(error)
    chosen = some or [catalog.Backup(job, each) for job in directory.jobs() for each in directory.backups(job)]
    if not chosen and not as_json:
        output.say("There are no backups yet.")
    rows, told, places = [], set[str](), dict[str, Places]()
    codes = [error.exit_code for error in errors]
    with watched() as surroundings, Verifier(there.on(surroundings), changed) as verifier:
        for each in verifier.verify(chosen):
            job = each.backup.job
            if job not in places:
                places[job] = Places(there.installation, directory, job)
            where = places[job].of(each.backup.id)
            rows.append({**_table(each), "where": where.value})
            codes.append(each.errors[0].exit_code if each.errors else 0)
            if not as_json:
                output.say(_line(each, where if there.adopted is None else Place.HERE))
            for error in each.errors:
                if str(error) not in told:  # several backups may need what is damaged: it is named once
                    told.add(str(error))
                    report(error)
        if chosen and not as_json:
            output.say(_total(verifier.reader, codes))
    if as_json:
        output.print_json(rows)
    return common_exit_code(codes)


def _table(found: Verified) -> dict[str, Any]:
    return {
        "id": found.backup.id,
        "job": found.backup.job,
        "result": found.verdict,
        "error": str(found.errors[0]) if found.errors else None,
        "signature": found.signature.table(),
        "errors": [str(error) for error in found.errors],
        "archives_read": iso(found.archives_read) if found.archives_read else None,
        "away": found.away,
    }


def _line(found: Verified, where: Place) -> str:
    verdict = str(found.verdict)
    if found.verdict is Verdict.OK and not found.away:
        read = iso(found.archives_read) if found.archives_read else ""
        verdict = "proven" if found.whole else f"unchanged since its archives were read, {read}"
    if found.away:
        verdict = f"{output.count(found.away, 'archive')} of it at an offsite alone, the rest {verdict}"
    wrong = "; ".join(error.what for error in found.errors)
    lies = f" ({where.value})" if where is not Place.HERE else ""
    return f"{found.backup}{lies}: {verdict}, {found.signature}{f'. {wrong}' if wrong else ''}"


def _total(reader: Reader, codes: Sequence[int]) -> str:
    read = f"{output.count(reader.archives, 'archive')} ({output.size(reader.bytes)}) read"
    before = f", {reader.passed_over} read by an earlier verify" if reader.passed_over else ""
    good = "whole as far as they are here" if reader.away else "whole" if reader.passed_over else "proven"
    total = f"{codes.count(0)} of {output.count(len(codes), 'backup')} {good}; {read}{before}."
    if reader.away:
        away = f"{reader.away} archives lie" if reader.away > 1 else "An archive lies"
        total += f" {away} at an offsite alone, and nothing of that was read: hiveden-backup offsite verify"
    return total

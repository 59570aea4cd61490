"""Commands on backups that are there: list, show, diff, verify, delete."""

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, List, Optional  # noqa: UP035 - typer 0.7 reads annotations of its own time

import typer

from hiveden_backup.cli import output
from hiveden_backup.cli.app import command, now, options, report, state_directory
from hiveden_backup.core.errors import BackupError, UsageError, common_exit_code
from hiveden_backup.core.model import ArtifactType

if TYPE_CHECKING:
    from hiveden_backup.jobs.backups.catalog import Backup

_MEANING = "An id, JOB/latest, JOB/ID, or a unique beginning."
BACKUP = typer.Argument(..., metavar="BACKUP", help=_MEANING)
_JSON = typer.Option(False, "--json", help="Print JSON.")


@command("list")
def list_backups(
    job: Optional[str] = typer.Option(None, "--job", metavar="JOB", help="Only this job's."),
    kind: Optional[ArtifactType] = typer.Option(None, "--type", help="Only artifacts of this type."),
    target: Optional[str] = typer.Option(None, "--target", help="Only this database's or application's."),
    as_json: bool = _JSON,
) -> None:
    """List the artifacts of finished backups, newest first."""
    from hiveden_backup.jobs.backups import catalog

    rows, damaged = catalog.rows(options.directory(), options.records(), job=job, kind=kind, target=target)
    if as_json:
        output.print_json([row.table() for row in rows])
    elif rows:
        head = ("BACKUP", "CREATED", "JOB", "TYPE", "TARGET", "SERVER", "ADDED", "DOWNTIME", "VERIFIED")
        cells = [
            (
                row.id,
                output.moment(row.created),
                row.job,
                row.type.value,
                row.target,
                row.server or "-",
                output.size(row.size),
                output.span(row.downtime_seconds) if row.downtime_seconds else "-",
                row.verified.result if row.verified else "-",
            )
            for row in rows
        ]
        output.print_table(head, cells, right=(6,))
    else:
        typer.echo("There are no backups yet." if not (job or kind or target) else "No backup fits.")
    for error in damaged:
        report(error)
    raise typer.Exit(common_exit_code(error.exit_code for error in damaged))


@command("show")
def show(
    backup: str = BACKUP,
    files: bool = typer.Option(False, "--files", help="List the paths in it."),
    as_json: bool = _JSON,
) -> None:
    """Show what one backup holds.

    Also where that came from, and the job's configuration, ready to be pasted.
    """
    from hiveden_backup.jobs.backups import catalog

    directory = options.directory()
    found = catalog.resolve(directory, backup)
    if files:
        paths = (catalog.show_path(record.path) for record in catalog.files(directory, found))
        if as_json:
            output.print_json(list(paths))
        else:
            for path in paths:
                typer.echo(output.printable(path))
        return
    table = catalog.show(directory, options.records(), found)
    if as_json:
        output.print_json(table)
        return
    for line in _described(table):
        typer.echo(line)


def _described(table: dict) -> "list[str]":  # type: ignore[type-arg] # the JSON of `show`, as it is printed
    from hiveden_backup.host.config_files import to_toml

    manifest = table["manifest"]
    verified = table["verified"]
    lines = [
        f"Backup    {manifest['job']}/{manifest['id']}",
        f"Made      {manifest['started']} to {manifest['finished']} on {manifest['host']}",
        f"Added     {output.size(table['size'])}",
        f"Verified  {verified['result']} at {verified['at']}" if verified else "Verified  not yet",
        "",
    ]
    for artifact in manifest["artifacts"]:
        where = f" on {artifact['server']}" if artifact["server"] else ""
        unit = "path" if artifact["type"] == "application" else "table"
        lines.append(f"{artifact['type']:12}{artifact['target']}{where}: {output.count(artifact['entries'], unit)}")
        for source in artifact["sources"]:
            place = source["path"] if source["path"] != source["name"] else ""
            lines.append(f"            {source['kind']} {source['name']} {place}".rstrip())
    if manifest["containers"]:
        lines.append("")
        lines.extend(
            f"container   {each['name']} ({each['image']}): down for {output.span(each['downtime_seconds'])}"
            for each in manifest["containers"]
        )
    lines.extend(f"warning     {warning}" for warning in manifest["warnings"])
    lines.extend(["", "The job's configuration:", ""])
    toml = to_toml({"jobs": {manifest["job"]: manifest["job_config"]}})
    return [
        *(output.printable(line) for part in lines for line in part.rstrip().split("\n")),
        *(output.printable_toml(line) for line in toml.rstrip().split("\n")),
    ]


@command("diff")
def diff(older: str = BACKUP, newer: str = BACKUP, as_json: bool = _JSON) -> None:
    """List the paths that differ between two backups.

    Both are of one job: + added, ~ changed, - removed.
    """
    from hiveden_backup.jobs.backups import catalog

    directory = options.directory()
    found = catalog.diff(directory, catalog.resolve(directory, older), catalog.resolve(directory, newer))
    signs = {"added": ("+", found.added), "changed": ("~", found.changed), "removed": ("-", found.removed)}
    if as_json:
        output.print_json({name: [catalog.show_path(path) for path in paths] for name, (_, paths) in signs.items()})
        return
    if not any(paths for _, paths in signs.values()):
        typer.echo("No difference.")
    for sign, paths in signs.values():
        for path in paths:
            typer.echo(f"{sign} {output.printable(catalog.show_path(path))}")


@command("verify")
def verify(
    backups: Optional[List[str]] = typer.Argument(None, help=_MEANING),  # noqa: UP006
    all_backups: bool = typer.Option(False, "--all", help="Verify every backup."),
    as_json: bool = _JSON,
) -> None:
    """Check digests and decode everything.

    Exit 65 when something is damaged; the error names it.
    """
    from hiveden_backup.cli.commands.run import context
    from hiveden_backup.jobs.backups import catalog
    from hiveden_backup.jobs.backups.verify import Verifier

    if bool(backups) == all_backups:
        raise UsageError("Say which backups to verify", "", "Name them, or give --all")
    directory = options.directory()
    chosen = (
        [catalog.Backup(job, each) for job in directory.jobs() for each in directory.backups(job)]
        if all_backups
        else [catalog.resolve(directory, text) for text in backups or []]
    )
    if not chosen and not as_json:
        typer.echo("There are no backups yet.")
    rows, codes = [], []
    with context(options.load()) as surroundings, ExitStack() as stack:
        surroundings.progress.begin("verify")
        verifier = stack.enter_context(Verifier(directory, options.records(), surroundings.progress.advance))
        for each in chosen:
            error = _verified(verifier, each)
            codes.append(error.exit_code if error is not None else 0)
            rows.append(
                {"id": each.id, "job": each.job, "result": _result(error), "error": str(error) if error else None}
            )
            if not as_json:
                typer.echo(f"{each}: {_result(error)}")
            if error is not None:
                report(error)
    if as_json:
        output.print_json(rows)
    raise typer.Exit(common_exit_code(codes))


def _verified(verifier, backup: "Backup") -> Optional[BackupError]:  # type: ignore[no-untyped-def] # noqa: ANN001
    from hiveden_backup.host.state.locks import job_lock

    try:
        with job_lock(state_directory(), backup.job, shared=True):
            verifier.verify(backup, now())
    except BackupError as error:
        return error
    return None


def _result(error: Optional[BackupError]) -> str:
    from hiveden_backup.core.errors import CorruptError

    return "ok" if error is None else "corrupt" if isinstance(error, CorruptError) else "inconclusive"


@command("delete")
def delete(backup: str = BACKUP, yes: bool = typer.Option(False, "--yes", help="Do it.")) -> None:
    """Remove one backup, whole."""
    from hiveden_backup.host.state.locks import job_lock
    from hiveden_backup.jobs.backups import catalog
    from hiveden_backup.jobs.backups.prune import delete as remove

    directory = options.directory()
    found = catalog.resolve(directory, backup)
    if not yes:
        manifest = directory.manifest(found.job, found.id)
        targets = ", ".join(f"{each.type.value} {each.target}" for each in manifest.artifacts)
        print(f"This would remove {found} of {output.moment(manifest.started)}: {targets}.", file=sys.stderr)
        raise UsageError("Nothing was removed", "", "Give --yes to do it")
    with job_lock(state_directory(), found.job):
        removed = remove(directory, options.records(), found.job, found.id)
    typer.echo(
        f"Removed {found}"
        + (f" and {output.count(len(removed), 'archive')} that nothing else needs." if removed else ".")
    )

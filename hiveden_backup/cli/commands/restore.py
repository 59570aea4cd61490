"""`restore`: files and databases back, beside what is there or in its place."""

from pathlib import Path
from typing import Any, List, Optional  # noqa: UP035 - typer 0.7 reads annotations of its own time

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command, report
from hiveden_backup.cli.elsewhere import AS_OF, FROM, HOST, IDENTITY, RCLONE_CONFIG, From, Source
from hiveden_backup.cli.in_place import finish, moment, preview, stopped, tell_healed
from hiveden_backup.cli.parameters import BACKUP, JSON, absolute
from hiveden_backup.cli.watched import watched
from hiveden_backup.core.errors import UsageError
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.restore import in_place
from hiveden_backup.jobs.restore.database import restore_as
from hiveden_backup.jobs.restore.files import restore_files
from hiveden_backup.jobs.restore.plan import Part
from hiveden_backup.jobs.restore.trust import Consent

_TO = typer.Option(
    None,
    "--to",
    help="Restore files below this new or empty directory.",
    metavar="DIR",
    autocompletion=completion.files,
)


_ONLY = typer.Option(None, "--only", help="Only paths that match; may be repeated.", metavar="GLOB")
_DATABASE = typer.Option(None, "--database", help="This database back in place, or beside it with --as.", metavar="DB")
_PATHS = typer.Option(
    None,
    "--path",
    help="With --in-place: only this path at or below one of the job's; may be repeated.",
    metavar="P",
    autocompletion=completion.files,
)
_TRUST = typer.Option(
    None, "--trust", help="Take a backup that the key with this fingerprint signed.", metavar="SHA256:..."
)
_ACCEPT = typer.Option(
    False, "--accept-differences", help="A database even when it does not come back as it was dumped."
)
_BEYOND = typer.Option(False, "--allow-beyond", help="Also what the backup names, and the job does not have today.")


@command("restore")
def restore(  # noqa: PLR0917 - typer calls it by keyword
    backup: str = BACKUP,
    to: Optional[Path] = _TO,
    only: Optional[List[str]] = _ONLY,  # noqa: UP006
    in_place: bool = typer.Option(False, "--in-place", help="Everything back where it was; undo reverses it."),
    files: bool = typer.Option(False, "--files", help="With --in-place: only files, no databases."),
    paths: Optional[List[str]] = _PATHS,  # noqa: UP006
    database: Optional[str] = _DATABASE,
    server: Optional[str] = typer.Option(None, "--server", help="Of this server, where several have it.", metavar="S"),
    new_name: Optional[str] = typer.Option(None, "--as", help="As a new database of this name.", metavar="NAME"),
    accept: bool = _ACCEPT,
    trust: Optional[str] = _TRUST,
    unsigned: bool = typer.Option(False, "--unsigned", help="Take a backup that nobody signed."),
    allow_beyond: bool = _BEYOND,
    yes: bool = typer.Option(False, "--yes", help="Do it; without it, what would be replaced is printed."),
    offsite: Optional[str] = FROM,
    identity: Optional[Path] = IDENTITY,
    as_of: Optional[str] = AS_OF,
    host: Optional[str] = HOST,
    rclone_config: Optional[Path] = RCLONE_CONFIG,
    as_json: bool = JSON,
) -> None:
    """Get files and databases back, beside what is there or in its place.

    What an in-place restore replaces is kept for undo.
    """
    ways = [way for way, given in (("--to", to), ("--in-place", in_place), ("--database", database)) if given]
    given = {
        "--only": only,
        "--files": files,
        "--path": paths,
        "--server": server is not None,
        "--as": new_name is not None,
        "--accept-differences": accept,
        "--trust": trust is not None,
        "--unsigned": unsigned,
        "--allow-beyond": allow_beyond,
    }
    _check_ways(ways, [option for option, value in given.items() if value])
    consent = Consent(trust or "", unsigned, allow_beyond)
    with From(offsite, identity, as_of, host, rclone_config).reading_of(backup) as there:
        found = there.resolve(backup)
        there.bring([found])
        if to is not None:
            _restore_files(there, found, to.absolute(), only or [], as_json=as_json)
        elif new_name is not None:
            _restore_database(there, found, str(database), server, new_name, consent, accept=accept, as_json=as_json)
        else:
            part = Part(database, server, files, tuple(map(absolute, paths or ())), consent)
            _restore_in_place(there, found, part, accept=accept, yes=yes, as_json=as_json)


_GO_WITH = {
    "--only": ("--to",),
    "--files": ("--in-place",),
    "--path": ("--in-place",),
    "--server": ("--database",),
    "--as": ("--database",),
    "--accept-differences": ("--database", "--in-place"),
    "--trust": ("--database", "--in-place"),
    "--unsigned": ("--database", "--in-place"),
    "--allow-beyond": ("--database", "--in-place"),
}


def _check_ways(ways: List[str], options: List[str]) -> None:  # noqa: UP006
    """UsageError unless there is one way to restore, and nothing that belongs to another one."""
    if len(ways) > 1:
        raise UsageError(f"{' and '.join(ways)} are different restores", "", "Give one of them")
    if not ways:
        raise UsageError("Say what to restore", "", "Give --to DIR, --in-place, or --database DB")
    for option in options:
        if not any(way in ways for way in _GO_WITH[option]):
            with_which = " or ".join(_GO_WITH[option])
            raise UsageError(f"{option} goes with {with_which}", "", "See hiveden-backup restore --help")


def _restore_files(there: Source, found: Backup, to: Path, only: List[str], *, as_json: bool) -> None:  # noqa: UP006

    with watched() as surroundings:
        restored = restore_files(there.on(surroundings), found, to, only)
    if as_json:
        head = {"id": found.id, "job": found.job, "target": str(to)}
        counts = {"entries": restored.entries, "bytes": restored.bytes, "not_kept": restored.losses.table()}
        output.print_json({**head, **counts})
    else:
        output.say(
            f"Restored {output.count(restored.entries, 'path')}, {output.size(restored.bytes)}, from {found} to {to}."
        )
    if restored.problem is not None:
        report(restored.problem)
        raise typer.Exit(1)


def _restore_database(  # noqa: PLR0917 - it hands on what was said
    there: Source,
    found: Backup,
    database: str,
    server: Optional[str],
    new_name: str,
    consent: Consent,
    *,
    accept: bool,
    as_json: bool,
) -> None:
    with watched() as surroundings:
        restored = restore_as(
            there.on(surroundings), found, database, server=server, new_name=new_name, accept=accept, consent=consent
        )
    if as_json:
        output.print_json({"id": found.id, "job": found.job, "database": new_name, "server": restored.server})
    else:
        output.say(f"Restored {database} from {found} as the new database {new_name} on {restored.server}.")


def _restore_in_place(there: Source, found: Backup, part: Part, *, accept: bool, yes: bool, as_json: bool) -> None:
    with watched() as watching:
        surroundings = there.on(watching)
        if not yes:
            preview(in_place.preview(surroundings, found, part), _replaced, as_json=as_json)
        done = in_place.restore_in_place(surroundings, found, part, tell_healed, accept=accept)
    if done is None:
        return  # this restore had been broken off
    if as_json:
        output.print_json({**done.table, "act": done.act.id, "warnings": list(done.warnings)})
    else:
        what = [place.live for place in done.act.places] + [f"the database {each.live}" for each in done.act.databases]
        output.say(f"Restored {found} in place: {', '.join(what)}.")
        output.say(f"What was there is kept for {output.span(done.act.keep)}: hiveden-backup undo {found.job} --yes")
    finish(done)


def _replaced(table: dict[str, Any]) -> List[str]:  # noqa: UP006
    lines = [f"{table['job']}/{table['id']} of {moment(table['created'])} would replace:"]
    for each in table["files"]:
        what = f"the volume {each['volume']}" if each["volume"] else each["path"]
        then = f"{output.count(each['then']['paths'], 'path')}, {output.size(each['then']['bytes'])}"
        lines += [f"  {what}", f"      now   {_files_now(each['now'])}", f"      then  {then}"]
        kept = each["now"]["kept"] if each["now"] else ()
        lines += [f"      stays {path}, which the backup leaves out" for path in kept]
    for each in table["databases"]:
        rows = each["then"]["rows"]
        then = output.count(each["then"]["tables"], "table")
        then += ", not all of them counted" if rows is None else f", {output.count(rows, 'row')}"
        lines.append(f"  the database {each['database']} on {each['server']}")
        now = _database_now(each["now"]) if each["asked"] else "not looked at: only the backup knows the server"
        lines += [f"      now   {now}", f"      then  {then}"]
    lines += stopped(table)
    lines += [f"  beyond the job: the {each['kind']} {each['name']}{_leads(each)}" for each in table["beyond"]]
    lines += [f"  not on this machine, and passed over: the container {name}" for name in table["absent"]]
    lines += [f"  not restored: {reason}" for reason in table["skipped"]]
    return lines


def _leads(beyond: dict[str, str]) -> str:
    return f" ({beyond['leads']})" if beyond["leads"] else ""


def _files_now(now: Optional[dict[str, Any]]) -> str:
    if now is None:
        return "nothing"
    return f"{output.count(now['paths'], 'path')}, {output.size(now['bytes'])}, changed {moment(now['changed'])}"


def _database_now(now: Optional[dict[str, Any]]) -> str:
    if now is None:
        return "nothing"
    return output.size(now["bytes"]) if now["bytes"] is not None else "of unknown size"

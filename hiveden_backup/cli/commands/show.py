"""`show`: what one backup holds."""

from collections.abc import Iterable
from pathlib import Path
from typing import Optional

import typer

from hiveden_backup.cli import output
from hiveden_backup.cli.app import command
from hiveden_backup.cli.elsewhere import AS_OF, FROM, HOST, IDENTITY, RCLONE_CONFIG, From
from hiveden_backup.cli.parameters import BACKUP, JSON
from hiveden_backup.core.backup.place import Place
from hiveden_backup.core.backup.signature import Signature
from hiveden_backup.core.config.gone import without_leftovers
from hiveden_backup.core.model import ArtifactType
from hiveden_backup.host.config_files import to_toml
from hiveden_backup.jobs.backups import catalog, contents


@command("show")
def show(  # noqa: PLR0917 - typer reads it
    backup: str = BACKUP,
    files: bool = typer.Option(False, "--files", help="List the paths in it."),
    offsite: Optional[str] = FROM,
    identity: Optional[Path] = IDENTITY,
    as_of: Optional[str] = AS_OF,
    host: Optional[str] = HOST,
    rclone_config: Optional[Path] = RCLONE_CONFIG,
    as_json: bool = JSON,
) -> None:
    """Show what one backup holds.

    Also where that came from, and the job's configuration, ready to be pasted.
    """
    with From(offsite, identity, as_of, host, rclone_config).reading_of(backup) as there:
        directory, found = there.installation.directory, there.resolve(backup)
        there.bring([found], whole=files)
        if files:
            paths = (catalog.show_path(record.path) for record in contents.files(directory, found))
            _list_files(paths, as_json=as_json)
            return
        table, signature = catalog.show(there.installation, directory, found)
    if as_json:
        output.print_json(table)
        return
    for line in _described(table, signature):
        output.say(line)
    manifest = table["manifest"]
    output.say_toml(to_toml(without_leftovers({"jobs": {manifest["job"]: manifest["job_config"]}})))


_LIES = {
    Place.BOTH: "here and at an offsite",
    Place.THERE: "at an offsite",
    Place.LOST: "some of it neither here nor at an offsite",
}


def _list_files(paths: Iterable[str], *, as_json: bool) -> None:
    if as_json:
        output.print_json_list(paths)
    else:
        for path in paths:
            output.say(path)


def _verified(found: "dict[str, str | None] | None") -> str:
    if found is None:
        return "Verified  not yet"
    since = f", archives read since {read}" if (read := found["archives_read"]) not in (None, found["at"]) else ""
    return f"Verified  {found['result']} at {found['at']}{since}"


def _described(table: dict, signature: Signature) -> list[str]:  # type: ignore[type-arg] # the JSON of `show`, as it is printed

    manifest = table["manifest"]
    lines = [
        f"Backup    {manifest['job']}/{manifest['id']}",
        f"Made      {manifest['started']} to {manifest['finished']} on {manifest['host']}",
        f"Added     {output.size(table['size'])}",
        *([f"Lies      {table['where']} ({_LIES[table['where']]})"] if table["where"] != Place.HERE else []),
        _verified(table["verified"]),
        f"Signature {signature}{f': {signature.why}' if signature.why else ''}",
        "",
    ]
    for artifact in manifest["artifacts"]:
        where = f" on {artifact['server']}" if artifact["server"] else ""
        unit = "path" if artifact["type"] == ArtifactType.APPLICATION else "table"
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
    lines.extend(f"unusual     {sentence}" for sentence in manifest.get("unusual") or ())
    lines.extend(f"warning     {warning}" for warning in manifest["warnings"])
    return [*(line.rstrip() for line in lines), "", "The job's configuration:", ""]

"""The commands of `offsite`: encrypted copies elsewhere."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, List, Optional  # noqa: UP035 - typer 0.7 reads annotations of its own time

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command, report
from hiveden_backup.cli.offsite_table import print_offsites
from hiveden_backup.cli.parameters import JOBS, JSON
from hiveden_backup.cli.registry import group
from hiveden_backup.cli.surroundings import chosen, installation
from hiveden_backup.cli.watched import watched
from hiveden_backup.core.errors import BackupError, UsageError, common_exit_code
from hiveden_backup.core.names import iso
from hiveden_backup.jobs.offsite import listing, upkeep
from hiveden_backup.jobs.offsite import prune as pruning
from hiveden_backup.jobs.offsite import status as standing
from hiveden_backup.jobs.offsite.afterwards import conclude
from hiveden_backup.jobs.offsite.choice import chosen_offsites, jobs_there
from hiveden_backup.jobs.offsite.push import Pushed
from hiveden_backup.jobs.offsite.push import push as send
from hiveden_backup.jobs.offsite.reconcile import Reconciled
from hiveden_backup.jobs.offsite.verify import Verified

_NAME = typer.Argument(
    None, metavar="[NAME]", help="The offsite; all when none is given.", autocompletion=completion.offsites
)
_SHOWN = 20
_FEW = 3
_offsite = group("offsite", "Encrypted copies elsewhere: send them, see them, let them go.")


@command("push", group=_offsite)
def push(
    name: Optional[str] = _NAME,
    jobs: Optional[List[str]] = JOBS,  # noqa: UP006
    job: Optional[str] = typer.Option(
        None, "--job", metavar="JOB", help="This job alone, to all its offsites.", autocompletion=completion.jobs
    ),
    as_json: bool = JSON,
) -> None:
    """Send the backups that are not there yet.

    Newest first, to several offsites at once. Broken off, it goes on where it was the next time. What retention there
    would drop is not sent.
    """
    if job is not None and (name or jobs):
        raise UsageError("Say which offsite and jobs, or which job goes to all its offsites", "", "Leave out --job")
    with watched() as surroundings:
        offsites = chosen_offsites(surroundings, name)
        asked = chosen(surroundings, [job] if job is not None else jobs or [])
        results = send(surroundings, offsites, asked)
        conclude(surroundings, offsites, asked, results)
    if as_json:
        output.print_json([each.table() for each in results])
    told: set[str] = set()
    for each in results:
        if not as_json:
            output.say(_told(each))
        for error in each.errors:
            if str(error) not in told:  # a place that is away is so for all jobs
                told.add(str(error))
                report(error)
    raise typer.Exit(common_exit_code(error.exit_code for each in results for error in each.errors))


def _told(pushed: Pushed) -> str:
    head = f"{pushed.offsite}: {pushed.job}"
    done = [output.count(len(pushed.backups), "backup")] if pushed.backups else []
    if pushed.objects:
        done.append(f"{output.count(pushed.objects, 'object')} ({output.size(pushed.bytes)})")
    nothing = "there is no backup yet" if pushed.is_empty else "everything is there"
    said = f"{', '.join(done)} sent" if done else "not all is there" if pushed.errors else nothing
    pruned = pushed.pruned
    gone = f"; {output.count(pruned.objects, 'object')} ({output.size(pruned.bytes)}) removed" if pruned else ""
    skipped = f"; {output.count(len(pushed.skipped), 'backup')} pruned meanwhile" if pushed.skipped else ""
    skipped += f"; {output.count(pushed.evicted, 'archive')} there alone from now on" if pushed.evicted else ""
    return f"{head}: {said}{gone}{skipped}."


@command("list", group=_offsite)
def list_(
    name: Optional[str] = _NAME,
    jobs: Optional[List[str]] = JOBS,  # noqa: UP006
    as_json: bool = JSON,
) -> None:
    """List the backups that are complete there.

    By what was sent, and not found damaged since: nothing is asked for there.
    """
    surroundings = installation()
    offsites = chosen_offsites(surroundings, name)
    found = list(listing.rows(surroundings, offsites, chosen(surroundings, jobs) if jobs else []))
    if as_json:
        output.print_json([each.table() for each in found])
        return
    if not found:
        output.say("Nothing is complete there yet: hiveden-backup offsite push")
        return
    cells = [(each.offsite, each.job, each.id, output.moment(each.line.at), output.size(each.bytes)) for each in found]
    output.print_table(("OFFSITE", "JOB", "BACKUP", "SENT", "SIZE THERE"), cells, right=(4,))


@command("status", group=_offsite)
def status(
    name: Optional[str] = _NAME,
    jobs: Optional[List[str]] = JOBS,  # noqa: UP006
    as_json: bool = JSON,
) -> None:
    """Tell how it stands with each offsite.

    What is there, what waits, what is damaged; and whether it keeps versions. Exit 1 when a push failed, a backup waits
    for too long, or something is damaged.
    """
    surroundings = installation()
    found = list(standing.rows(surroundings, chosen_offsites(surroundings, name), chosen(surroundings, jobs or [])))
    if as_json:
        output.print_json([row.table() for row in found])
    else:
        print_offsites([(row.job, row.status) for row in found])
        for each in dict.fromkeys(row.status.name for row in found):
            output.say(_in_all(each, [row for row in found if row.status.name == each]))
        for row in found:
            for sentence in dict.fromkeys([*row.status.attention, *filter(None, [row.status.unlisted])]):
                output.say(f"{row.job}: {sentence}")
            damaged = row.status.facts.damaged
            for name_there in damaged[:_SHOWN]:
                output.say(f"{row.job} at {row.status.name}: damaged: {name_there}")
            if len(damaged) > _SHOWN:
                output.say(f"{row.job} at {row.status.name}: {len(damaged) - _SHOWN} more are damaged; --json has all")
    raise typer.Exit(int(any(True for row in found for _ in row.status.attention)))


def _in_all(offsite: str, rows: Sequence[standing.Row]) -> str:
    """What these jobs have there, in a line."""
    kept = {True: "It keeps versions", False: "It keeps no versions", None: "Nothing tells whether it keeps versions"}
    backups = output.count(sum(row.status.backups for row in rows), "backup")
    size = output.size(sum(row.status.bytes for row in rows))
    return f"{offsite}: {backups} of {output.count(len(rows), 'job')}, {size}. {kept[rows[0].versions]}."


@command("prune", group=_offsite)
def prune(
    name: Optional[str] = _NAME,
    jobs: Optional[List[str]] = JOBS,  # noqa: UP006
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would go and why; remove nothing."),
    as_json: bool = JSON,
) -> None:
    """Remove what retention there lets go.

    Push does so as well. Nothing goes that a backup needs which stays. A key that may not remove anything is no
    failure.
    """
    rows: list[dict[str, Any]] = []
    codes = []
    with watched() as surroundings:
        for offsite in chosen_offsites(surroundings, name):
            for job in jobs_there(surroundings, offsite, chosen(surroundings, jobs or [])):
                try:
                    rows.extend(pruning.prune_job(surroundings, offsite, job, dry_run=dry_run).table())
                except BackupError as error:  # the others have their turn
                    report(error)
                    codes.append(error.exit_code)
    if as_json:
        output.print_json(rows)
    else:
        cells = [(row["offsite"], row["job"], row["id"], _decision(row), ", ".join(row["reasons"])) for row in rows]
        output.print_table(("OFFSITE", "JOB", "BACKUP", "DECISION", "WHY"), cells)
    raise typer.Exit(common_exit_code(codes))


def _decision(row: dict[str, Any]) -> str:
    return "keep" if row["keep"] else "remove: denied" if row["denied"] else "remove"


@command("reconcile", group=_offsite)
def reconcile(
    name: Optional[str] = _NAME,
    jobs: Optional[List[str]] = JOBS,  # noqa: UP006
    as_json: bool = JSON,
) -> None:
    """Compare what is there with what was sent.

    By a listing; push does so now and then. What is missing or other than it was sent is sent again by the next push,
    or is damaged where this machine has it no more (exit 65). A journal that was lost is made again.
    """
    _by_hand(name, jobs, upkeep.compared, _compared, as_json=as_json)


@command("verify", group=_offsite)
def verify(
    name: Optional[str] = _NAME,
    jobs: Optional[List[str]] = JOBS,  # noqa: UP006
    identity: Optional[Path] = typer.Option(
        None, metavar="FILE", help="A file with the secret key: what is there is decrypted and compared, too."
    ),
    as_json: bool = JSON,
) -> None:
    """Read back and prove what is there.

    Least recently checked first, until the month's `verify_budget` is used up. Signature and digests are proved; with
    an identity, what can be decrypted. Exit 65 when something is damaged.
    """
    _by_hand(name, jobs, upkeep.reading(identity), _read, as_json=as_json)


def _by_hand(
    name: Optional[str],
    jobs: Optional[List[str]],  # noqa: UP006
    act: upkeep.Act,
    told: Callable[[Any], str],
    *,
    as_json: bool,
) -> None:
    """Do it at each offsite for each job; what is wrong is told, and decides the exit status."""
    outcomes: list[upkeep.Outcome] = []
    codes = []
    with watched() as surroundings:
        for offsite in chosen_offsites(surroundings, name):
            try:
                some = jobs_there(surroundings, offsite, chosen(surroundings, jobs or []))
                outcomes += upkeep.by_hand(surroundings, offsite, some, act)
            except BackupError as error:  # the others have their turn
                report(error)
                codes.append(error.exit_code)
    for each in outcomes:
        if not as_json:
            output.say(f"{each.offsite}: {each.found.job}: {told(each.found)}")
            for finding in each.found.findings:
                output.say(f"  {upkeep.said(each.offsite, each.found.job, finding)}")
        if each.error is not None:
            report(each.error)
            codes.append(each.error.exit_code)
    if as_json:
        output.print_json([each.table() for each in outcomes])
    raise typer.Exit(common_exit_code(codes))


def _compared(found: Reconciled) -> str:
    parts = [f"{output.count(found.objects, 'object')} ({output.size(found.bytes)}) there"]
    parts.append("not all as sent" if found.findings else "all as sent")
    if found.learned:
        parts.append(f"{found.learned} of them found again")
    if found.removed:
        parts.append(f"{output.count(len(found.removed), 'leftover')} removed")
    if found.strays:
        parts.append(f"{output.count(len(found.strays), 'leftover')} of a push that was broken off")
    if found.foreign:
        shown = ", ".join([*found.foreign[:_FEW], *(["..."] if len(found.foreign) > _FEW else [])])
        parts.append(f"{len(found.foreign)} not ours ({shown})")
    return "; ".join(parts) + "."


def _read(found: Verified) -> str:
    if not found.objects:
        return "nothing of it is there yet."
    since = f"all of it was read since {iso(found.since)}" if found.since is not None else "some was never read yet"
    read = f"{found.read} of {output.count(found.objects, 'object')} ({output.size(found.bytes)}) read"
    return f"{read}; {since}; {output.size(found.left)} of this month's budget left."

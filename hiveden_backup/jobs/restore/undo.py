"""The last in-place restore of a job reversed: what it replaced comes back, what it brought is kept in its turn."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from hiveden_backup.core import events
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.errors import BackupError, NotFoundError, StorageError, raise_all
from hiveden_backup.core.model import RunKind
from hiveden_backup.core.names import iso
from hiveden_backup.core.restore_record import Act, Phase
from hiveden_backup.host.disk import beneath, mounts
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.docker.engine import Docker, connect
from hiveden_backup.host.log import log
from hiveden_backup.host.signals import deferred
from hiveden_backup.host.state.locks import ExclusiveJob, container_locks
from hiveden_backup.host.state.restore_records import Acts
from hiveden_backup.jobs.backups.recording import Recording, done
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.recovery import holders
from hiveden_backup.jobs.recovery.heal import Healed, healed
from hiveden_backup.jobs.recovery.mover import Mover, check_kept, insist, unfinished
from hiveden_backup.jobs.recovery.servers_down import NO_SERVERS, ServersDown
from hiveden_backup.jobs.restore import in_use, staging
from hiveden_backup.jobs.restore import places as replacing
from hiveden_backup.jobs.restore.holding import reaching_holders
from hiveden_backup.jobs.restore.in_place import ActResult, written
from hiveden_backup.jobs.restore.places import Files, Place
from hiveden_backup.jobs.services.docker import check_all_stoppable, docker_may_be_there, existing
from hiveden_backup.jobs.services.downtime import Downtime


@dataclass(slots=True)
class Reversal:
    """What an undo will reverse, and the containers that it stops."""

    act: Act
    job: Job
    docker: Docker | None = None
    containers: tuple[Container, ...] = ()
    servers: tuple[Container, ...] = ()

    def table(self) -> dict[str, Any]:
        """What would come back, ready for JSON."""
        return {
            "job": self.act.job,
            "id": self.act.backup,
            "restored": iso(self.act.finished or self.act.started),
            "files": [place.live for place in self.act.places],
            "databases": [
                {"database": each.live, "server": each.server, "kept": each.kept if each.replaced else None}
                for each in self.act.databases
            ],
            "containers": [container.name for container in self.containers if container.running],
            "servers": [container.name for container in self.servers],
        }


@contextmanager
def reversal(installation: Installation, job: str) -> Iterator[Reversal]:
    """Plan to reverse the newest in-place restore of a job that is not reversed yet. Nothing is changed.

    NotFoundError when there is none.
    """
    act = next((each for each in reversed(Acts(installation.state).of(job)) if each.phase is Phase.DONE), None)
    if act is None:
        raise NotFoundError(
            f"There is no in-place restore of {job} to undo",
            "What one replaced is kept for undo_keep, and each can be undone once",
            "See what backups there are: hiveden-backup list",
        )
    settings = installation.config.jobs.get(job) or Job(
        name=job, stop_timeout=act.stop_timeout, start_timeout=act.start_timeout, containers=act.containers
    )
    plan = Reversal(act, settings)
    with ExitStack() as stack:
        if settings.containers or act.places:
            _find_containers(installation, plan, stack)
        check_kept(installation, act)
        _check(installation, plan)
        yield plan


def _find_containers(installation: Installation, plan: Reversal, stack: ExitStack) -> None:
    if not docker_may_be_there(installation.docker):
        return
    plan.docker = stack.enter_context(connect(installation.docker))
    plan.containers = tuple(existing(plan.docker, plan.job.containers)[0])
    check_all_stoppable(plan.job, plan.containers)


def _check(installation: Installation, plan: Reversal) -> None:
    table = mounts.mounts()
    kept_out = (installation.config.directory, str(installation.state))
    for place in plan.act.places:
        replacing.refuse_mounts(place.live, table, own=not place.volume)
        replacing.census_of(place.live, replacing.excluded_below(place.source, plan.act.exclude), kept_out)
    if plan.docker is None:
        return
    stopped = {container.id for container in plan.containers if container.running and not container.paused}
    sources = in_use.server_sources([plan.job], [each.source for each in plan.act.databases])
    servers = in_use.Servers(dict.fromkeys(plan.act.servers) | sources, plan.docker)
    everything = plan.docker.containers()
    users = in_use.find_users(everything, stopped, _files(plan.act), servers)
    known = {*stopped, *users.blocking, *(container.id for container in users.servers)}
    users.obstacles.extend(reaching_holders(plan.act, everything, known))
    raise_all(f"The restore of {plan.act.job} cannot be reversed now", users.obstacles)
    plan.servers = tuple(users.servers)


def _files(act: Act) -> Files:
    """What changes places. What a backup leaves out may be in use only where there is an old tree to carry it into."""
    places = [Place(each.source, each.live, "", each.volume) for each in act.places]
    with holders.ground(act) as ground, translated(f"looking at what {act.job} keeps", unwritable=StorageError):
        keeping = frozenset(each.source for each in act.places if each.volume or ground.end(each.old).there())
    return Files(act.exclude, places=places, keeping=keeping)


def preview(installation: Installation, job: str) -> dict[str, Any]:
    """What `undo` would put back, ready for JSON. Nothing is changed."""
    with reversal(installation, job) as plan:
        return plan.table()


def undo(installation: Installation, job: str, told: Callable[[Healed], None]) -> ActResult | None:
    """Reverse the newest in-place restore of a job; None when that had been broken off, and is finished now.

    `told` hears what was broken off before, as soon as it is brought to its end.
    """
    with (
        Recording(installation, RunKind.UNDO, job) as recording,
        healed(installation, job, told) as (locked, found),
        recording.begun(locked),
    ):
        undone = next((act for act in found.acts if act.phase is Phase.UNDONE), None)
        if undone is not None:
            recording.record = replace(done(recording.record, found.problems), backup=undone.backup)
            return None
        with reversal(installation, job) as plan:
            recording.record = replace(recording.record, backup=plan.act.backup)
            result = _carry_out(installation, locked, plan)
        recording.record = result.recorded(recording.record)
        return result


def _carry_out(installation: Installation, job: ExclusiveJob, plan: Reversal) -> ActResult:
    mover, table = Mover(installation, job), plan.table()
    act, names = plan.act, tuple(container.name for container in plan.containers)
    servers = tuple(container.name for container in plan.servers)
    problems: list[BackupError] = []
    downtime: Downtime | None = None
    down = NO_SERVERS
    beneath.load()
    with container_locks(installation.state, (*names, *servers), plan.job.lock_wait) as locked, ExitStack() as started:

        def start() -> None:
            if downtime is not None and act.phase is not Phase.UNDOING:
                downtime.start()

        def start_servers() -> None:
            if act.phase is not Phase.UNDOING:
                down.start()

        started.callback(start)
        if plan.docker is not None:
            downtime = Downtime.of(plan.docker, installation, plan.job, locked, [])
            downtime.stop(plan.containers)
            down = ServersDown.of(installation, replace(act, servers=servers), plan.docker, locked)
            started.callback(start_servers)
            down.stop()
            in_use.check_unused(plan.docker, _files(act), act)
        going = replace(staging.with_swaps_back(act), phase=Phase.UNDOING, containers=names, servers=servers)
        with deferred():
            mover.put(going)
            act = going
            try:
                act, problem = insist(lambda: mover.backward(going, down, "undo"), lambda: mover.backward(going, down))
            except BackupError as error:
                raise unfinished(going, error) from error
            problems.extend(written(mover, act, problem))
    if downtime is not None:
        downtime.await_healthy()
        downtime.start_at_last()
        problems.extend((*downtime.problems, *down.finish()))
    log.event(events.Undone(act.job, act.backup))
    was_down = (*(downtime.summary() if downtime is not None else ()), *down.summary())
    return ActResult(act, table, tuple(problems), down=was_down)

"""`schedule apply`, `set`, `unset` and `remove`: units made to be what the configuration says, or left as they were."""

from collections.abc import Callable, Iterable

from hiveden_backup.core.errors import BackupError, BusyError, ConfigError, NotFoundError
from hiveden_backup.core.schedule import units
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.state.locks import LockedUnits, units_lock
from hiveden_backup.host.systemd import systemctl as systemd
from hiveden_backup.host.systemd.unit_files import UnitFiles, Written, digest
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.schedule.survey import Survey, as_problem, compared, problem_of, survey
from hiveden_backup.jobs.setup import managed as configure


def apply(installation: Installation) -> units.Changes:
    """Install the units that the configuration asks for; what was changed. Applied twice, nothing is.

    Everything is looked at before anything is touched, and after a failure the old units are back.
    """
    systemd.require(change=True)
    with units_lock(installation.state) as locked:  # whoever had it may have changed the configuration, too
        current = installation.anew()
        for hidden in configure.hidden_schedules(current.config_file):
            log.warning(configure.said(hidden))
        return _change(locked, UnitFiles(current.state), survey(current))


def remove(files: UnitFiles) -> units.Changes:
    """Take all our units away again, whatever the configuration says."""
    systemd.require(change=True)
    with units_lock(files.state) as locked:
        return _change(locked, files, compared(files, {}, {}))


def set_schedule(installation: Installation, job: str, expression: str) -> units.Changes:
    """Write a job's schedule to the managed drop-in, and apply. Refused when systemd could not make sense of it."""
    _check_job(installation, job)
    problem = problem_of(expression, installation.now())
    if problem is not None:
        raise ConfigError([as_problem(job, problem)])
    return _reschedule(installation, job, expression)


def unset_schedule(installation: Installation, job: str) -> units.Changes:
    """Let a job run only when it is told to, and apply."""
    _check_job(installation, job)
    return _reschedule(installation, job, [])


def _check_job(installation: Installation, job: str) -> None:
    systemd.require(change=True)
    if job not in installation.config.jobs:
        known = ", ".join(installation.config.jobs) or "none"
        raise NotFoundError(f"There is no job {job}", f"The configuration has: {known}", "Name one of these")


def _reschedule(installation: Installation, job: str, schedule: str | list[str]) -> units.Changes:
    configure.merge(installation.config_file, {"jobs": {job: {"schedule": schedule}}})
    return apply(installation)


# ---- the change itself -----------------------------------------------------------------------------------------------


def _change(_: LockedUnits, files: UnitFiles, found: Survey) -> units.Changes:
    """From what there is to what is wanted."""
    changes = found.changes
    _refuse_foreign(files, changes.added)
    _refuse_running(changes.removed)
    restarted = {*changes.added, *changes.changed, *found.idle, *found.written.unfinished, *found.outdated}
    touched = [timer for timer in found.timers if timer in restarted]
    recovers = not found.wanted or found.states[units.RECOVER].decided
    if not (changes or touched or found.written.unfinished) and recovers:
        return changes
    files.put_written(_both(found, changes, touched))
    try:
        _swap(files, found, changes, touched)
        systemd.enable([*touched, *([units.RECOVER] if found.wanted else [])])
        failpoint("units-start")
        systemd.start(touched)
    except BaseException:
        _put_back(files, found, changes)
        raise
    files.put_written(Written({path: (digest(text),) for path, text in found.wanted.items()}))
    return changes


def _swap(files: UnitFiles, found: Survey, changes: units.Changes, touched: Iterable[str]) -> None:
    """Files, and what systemd has loaded of them. A timer that changes is stopped meanwhile, and forgets its past."""
    fresh = [*changes.added, *changes.changed]
    files.sweep()
    files.stage({path: found.wanted[path] for path in fresh})
    systemd.stop([*touched, *_timers(changes.removed)])
    systemd.disable([*_timers(changes.removed), *(path for path in changes.removed if path == units.RECOVER)])
    for path in fresh:
        files.place([path])
        failpoint("units-place")
    files.remove(changes.removed)
    systemd.reload()
    systemd.forget_failures("hiveden-backup*")
    failpoint("units-reload")
    systemd.forget_triggers(timer for timer in touched if "\nPersistent=yes\n" in found.wanted[timer])


def _put_back(files: UnitFiles, found: Survey, changes: units.Changes) -> None:
    """Have the units again that were there before. What fails on the way is told, and leaves the rest to be tried."""
    old = {path: found.installed[path] for path in (*changes.changed, *changes.removed)}
    timers = [path for path in found.installed if path.endswith(".timer")]
    enabled = [unit for unit in (*timers, units.RECOVER) if found.states[unit].decided and unit in found.installed]
    steps: tuple[Callable[[], None], ...] = (
        files.sweep,
        lambda: systemd.stop(_timers(changes.added)),
        lambda: systemd.disable(path for path in _timers(changes.added) if files.text(path) is not None),
        lambda: files.remove(changes.added),
        lambda: files.stage(old),
        lambda: files.place(old),
        systemd.reload,
        lambda: systemd.enable(enabled),
        lambda: systemd.start(timer for timer in timers if found.states[timer].active),
        lambda: files.put_written(found.written),
    )
    for step in steps:
        try:
            step()
        except BackupError as failure:
            log.error(f"While the old units were put back: {failure}")


def _both(found: Survey, changes: units.Changes, touched: Iterable[str]) -> Written:
    """What is ours while it changes, the old and the new: it is there, should we be killed."""
    digests = {path: found.written.digests.get(path, ()) for path in found.installed}
    for path, text in found.wanted.items():
        digests[path] = tuple(dict.fromkeys((*digests.get(path, ()), digest(text))))
    return Written(digests, tuple({*touched, *changes.added, *changes.changed, *changes.removed}))


def _timers(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if path.endswith(".timer")]


def _refuse_foreign(files: UnitFiles, added: Iterable[str]) -> None:
    for path in added:
        if files.text(path) is not None:
            raise BackupError(
                f"{files.directory / path} is there already and not ours",
                "It does not begin as what `schedule apply` writes",
                "Move it away, then apply again",
            )


def _refuse_running(removed: Iterable[str]) -> None:
    """What a run depends on stays until it is done: with a drop-in away, or the template, it would end otherwise."""
    lost = {path for path in removed if not path.endswith(".timer")}
    for unit in systemd.active(units.service("*")) if lost else ():
        job = unit.removeprefix(units.service("").removesuffix(".service")).removesuffix(".service")
        if units.drop_in(job) in lost or units.TEMPLATE in lost:
            raise BusyError(f"The job {job} is running", "Its units stay until that is done", "Wait, then try again")

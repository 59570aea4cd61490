"""What follows a run whose backup is to go elsewhere: it becomes due, and is sent by its unit where there is one.

A run by its unit says nothing of that: systemd starts the other unit when all went well, and its timer does else.
"""

from hiveden_backup.core.config.values import Job
from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.schedule import units
from hiveden_backup.host.log import log
from hiveden_backup.host.state.due import due_now
from hiveden_backup.host.systemd import systemctl as systemd
from hiveden_backup.host.systemd.unit_files import UnitFiles
from hiveden_backup.jobs.installation import Installation


def send(installation: Installation, job: Job) -> None:
    """Have the job's new backup sent to its offsites, without waiting for that; else say how it is done."""
    places = ", ".join(each.name for each in installation.config.offsites_of(job))
    if not places:
        return
    try:
        due_now(installation.state, job.name)
        if installation.invocation:
            return
        unit = units.offsite_service(job.name)
        if _is_installed(installation, job.name):
            systemd.start_soon([unit])
            log.info(f"{unit} sends it to {places}", job=job.name)
        else:
            log.info(f"It is on this machine alone. Send it to {places}: hiveden-backup offsite push", job=job.name)
    except BackupError as error:  # the backup is there all the same, and a timer sends it
        log.warning(str(error), job=job.name)


def _is_installed(installation: Installation, job: str) -> bool:
    """Whether `schedule apply` made the unit for this very state directory, and we may start it."""
    written = UnitFiles(installation.state).written().digests
    return systemd.running() and systemd.permitted() and units.offsite_drop_in(job) in written

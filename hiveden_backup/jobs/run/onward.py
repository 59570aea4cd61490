"""What follows a run whose backup is to go elsewhere: it becomes due, and is sent by its unit where there is one.

A run by its unit says nothing of that: systemd starts the other unit when all went well, and its timer does else.
"""

import os
import sys

from hiveden_backup.core.config.values import Job
from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.schedule import units
from hiveden_backup.host.log import log
from hiveden_backup.host.process import Brake, Command, Pipeline
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


def send_begun(installation: Installation, job: Job, *, wait_for_it: Brake | None) -> None:
    """Have sent what the job's pass has complete, by the unit; where there is none, only `wait_for_it`, to its end."""
    try:
        due_now(installation.state, job.name)
        if _is_installed(installation, job.name):
            systemd.start_soon([units.offsite_service(job.name)])
        elif wait_for_it is not None:
            _push(installation, job, wait_for_it)
    except BackupError as error:
        if wait_for_it is not None:  # it is asked for again then
            wait_for_it.insist()
            log.warning(str(error), job=job.name)


def _push(installation: Installation, job: Job, brake: Brake) -> None:
    """Be one's own unit: the program once more, which knows how that is done."""
    program = (
        sys.executable,
        "-P",
        "-m",
        "hiveden_backup",
        "--quiet",
        "--config",
        str(installation.config_file.absolute()),
    )
    ours = {**os.environ, "STATE_DIRECTORY": str(installation.state)}
    with Pipeline(Command((*program, "offsite", "push", "--job", job.name), ours), brake=brake) as pipeline:
        while pipeline.stdout.read(1 << 16):
            pass


def _is_installed(installation: Installation, job: str) -> bool:
    """Whether `schedule apply` made the unit for this very state directory, and we may start it."""
    written = UnitFiles(installation.state).written().digests
    return systemd.running() and systemd.permitted() and units.offsite_drop_in(job) in written

"""The units that send backups to offsites: what systemd/hiveden-backup-offsite@.service leaves open. No I/O.

That template sees little of the machine. What a job's pushes need of it is bound into their view, path by path.
"""

import os.path
from collections.abc import Iterator, Mapping, Sequence

from hiveden_backup.core.config.values import Job, Offsite
from hiveden_backup.core.offsite.layout import credential
from hiveden_backup.core.schedule.units import (
    HEADER,
    UnitPlace,
    configuration_line,
    escaped,
    offsite_drop_in,
    offsite_timer,
    word,
)

EVERY = 15 * 60.0
"""How often the timer asks whether a push is due, in seconds."""


def offsite_files(job: Job, offsites: Sequence[Offsite], place: UnitPlace) -> Mapping[str, str]:
    """The generated units that send a job's backups: paths below the directory of units, and texts; none for nowhere.

    `offsites` are those of the job.
    """
    if not offsites:
        return {}
    return {
        offsite_drop_in(job.name): drop_in_text(offsites, place),
        offsite_timer(job.name): timer_text(job),
    }


def timer_text(job: Job) -> str:
    """The timer that asks whether a job's backups are to be sent; hosts do so at different times."""
    lines = [
        "[Unit]",
        f"Description=Offsite copies of the backup job {job.name}, when they are due",
        "",
        "[Timer]",
        f"OnCalendar=*:0/{EVERY / 60:.0f}",
        f"RandomizedDelaySec={EVERY / 60:.0f}min",
        "FixedRandomDelay=yes",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return HEADER + "".join(f"{line}\n" for line in lines)


def drop_in_text(offsites: Sequence[Offsite], place: UnitPlace) -> str:
    """What pushes to these offsites see of the machine: backups, the configuration, and what each offsite asks for."""
    evicts = any(each.keep_local == "newest" for each in offsites)
    lines = [
        "[Unit]",
        *(f"RequiresMountsFor={word(path)}" for path in place.directories),
        "",
        "[Service]",
        *_evicting(evicts=evicts),
        *(f"{'BindPaths' if evicts else 'BindReadOnlyPaths'}={word(f'-{path}')}" for path in place.directories),
        *(_configured(place.config) if place.config is not None else ()),
        *_credentials(offsites, place),
        *(f"BindPaths={word(f'-{each.remote}')}" for each in offsites if each.is_local),
    ]
    if all(each.is_local for each in offsites):
        lines += ["# No offsite of the job is reached by a network.", "PrivateNetwork=yes"]
    return HEADER + "".join(f"{line}\n" for line in lines)


def _evicting(*, evicts: bool) -> Iterator[str]:
    if evicts:
        yield "# Archives leave the backup directory when they are there: an offsite has keep_local = newest."


def _configured(file: str) -> Iterator[str]:
    yield configuration_line(file)
    for path in (file, os.path.join(os.path.dirname(file), "config.d")):
        yield f"BindReadOnlyPaths={word(f'-{path}')}"


def _credentials(offsites: Sequence[Offsite], place: UnitPlace) -> Iterator[str]:
    """What rclone has to know comes as a credential, and is not seen where it lies; nor is what opens other places."""
    for each in offsites:
        if each.rclone_config is not None:
            yield f"LoadCredential={credential(each.name)}:{escaped(each.rclone_config)}"
    own = (each.rclone_config for each in offsites if each.rclone_config is not None)
    for path in dict.fromkeys([*own, *place.closed]):
        yield f"InaccessiblePaths={word(f'-{path}')}"

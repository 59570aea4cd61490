"""Trying again what a place refused for a moment: rclone itself is told to try once, so that each try is bounded."""

import time
from collections.abc import Callable
from typing import TypeVar

from hiveden_backup.core.errors import UnreachableError
from hiveden_backup.host.log import log
from hiveden_backup.host.offsite.errors import ClockError
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.process import Brake

_PAUSES = (1.0, 5.0, 20.0)
_LOOK_SECONDS = 0.2
_R = TypeVar("_R")


def patiently(act: Callable[[], _R], remote: Remote) -> _R:
    """What it gives; it is done again after a pause when the place was away, as none here is for a moment only."""
    for pause in () if remote.offsite.is_local else _PAUSES:
        try:
            return act()
        except ClockError:
            raise
        except UnreachableError as error:
            remote.brake.insist()
            log.debug(f"{error} It is tried again in {pause:g} seconds.")
            _wait(pause, remote.brake)
    return act()


def _wait(seconds: float, brake: Brake) -> None:
    deadline = time.monotonic() + seconds
    while not brake.pulled and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    brake.insist()

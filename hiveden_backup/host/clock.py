"""The machine's time zone."""

import os
import stat
from dataclasses import dataclass
from datetime import UTC, tzinfo
from io import BytesIO
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hiveden_backup.core.schedule.zone_file import is_whole

_LOCAL = "/etc/localtime"
_LARGEST = 1 << 20
_FAULTS = (OSError, ValueError, ZoneInfoNotFoundError)


@dataclass(frozen=True, slots=True)
class LocalZone:
    """A time zone with its rules, not only today's offset. `fault` says why it is UTC although it should be another."""

    zone: tzinfo = UTC
    name: str = "UTC"
    fault: str = ""


def local_zone() -> LocalZone:
    """The zone of TZ, else of /etc/localtime, else UTC: as the C library has it, also where these make no sense."""
    name = os.environ.get("TZ", "").removeprefix(":")
    try:
        if name and not name.startswith("/"):
            return LocalZone(ZoneInfo(name), name)
        path = name or _LOCAL
        return LocalZone(_read(path), os.path.realpath(path).rpartition("/zoneinfo/")[2] or "UTC")
    except FileNotFoundError:
        if not name and not os.path.lexists(_LOCAL):  # a machine without one is in UTC
            return LocalZone()
        fault = "it leads nowhere"
    except _FAULTS as error:
        fault = getattr(error, "strerror", None) or "it is damaged"
    if name:
        return LocalZone(fault=f"TZ is {name!r}, which is no time zone that is known here")
    return LocalZone(fault=f"{_LOCAL} cannot be used: {fault}")


def _read(path: str) -> tzinfo:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        data = file.read(_LARGEST) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    if not is_whole(data):
        raise ValueError(path)
    return ZoneInfo.from_file(BytesIO(data))

"""The machine's time zone."""

import os
from datetime import UTC, tzinfo
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.schedule.zone_file import is_whole
from hiveden_backup.host.disk.durable import read_regular

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
    data = read_regular(Path(path), _LARGEST, follow=True)
    if not is_whole(data):
        raise ValueError(path)
    return ZoneInfo.from_file(BytesIO(data))

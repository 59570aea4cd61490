"""The machine's time zone."""

import os
from contextlib import suppress
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def local_zone() -> tzinfo:
    """The zone of TZ, else of /etc/localtime, else UTC: with its rules, not only today's offset."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if name:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            return UTC
    try:
        with open("/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file)
    except FileNotFoundError:
        return UTC


def zone_name() -> str:
    """The name of that zone, such as `Europe/Berlin`; `UTC` when it has none."""
    name = os.environ.get("TZ", "").removeprefix(":")
    with suppress(OSError):
        name = name or os.readlink("/etc/localtime").rpartition("/zoneinfo/")[2]
    return name or "UTC"

"""What a backup records of how a volume was made, and what a volume is made anew with."""

import re
from collections.abc import Mapping

from hiveden_backup.core.docker.containers import Volume
from hiveden_backup.core.model import NamedVolume

DEVICE_OPTION = "device"
"""The option of a volume that stands for something else, which is mounted only while a container uses it."""
_MASK = "***"
_WORDS = "pass|pwd|secret|token"
_SECRET = re.compile(_WORDS, re.IGNORECASE)
_PAIR = re.compile(rf"([^,=]*(?:{_WORDS})[^,=]*)=(?:,,|[^,])*", re.IGNORECASE)
"""Two commas are one of the value, to the file systems that know passwords."""


def recorded(volume: Volume) -> NamedVolume:
    """The volume as a manifest has it: what may be a password is masked, in `o=...,password=...` too."""
    options = {name: _masked(name, value) for name, value in volume.options.items()}
    return NamedVolume(volume.name, {name: _masked(name, value) for name, value in volume.labels.items()}, options)


def _masked(name: str, value: str) -> str:
    if _SECRET.search(name):
        return _MASK
    return _PAIR.sub(lambda pair: f"{pair[1]}={_MASK}", value)


def usable(recorded: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Labels or options to make a volume with; and the names of those that were masked, which are left out."""
    found: dict[str, str] = {}
    missing: list[str] = []
    for name, value in recorded.items():
        kept = []
        for part in value.split(","):
            key, _, rest = part.rpartition("=")
            if rest == _MASK:
                missing.append(key or name)
            else:
                kept.append(part)
        if kept:
            found[name] = ",".join(kept)
    return found, tuple(missing)

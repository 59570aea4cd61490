"""Which offsite a person means, and whose backups there: one that the configuration has, or any place of rclone's."""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from hiveden_backup.core.config.offsites import remote_fault
from hiveden_backup.core.config.values import Offsite
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, NotFoundError, UsageError
from hiveden_backup.core.names import iso
from hiveden_backup.core.offsite import layout
from hiveden_backup.host.disk.durable import read_regular
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.process import Brake
from hiveden_backup.host.state.identity import known_host
from hiveden_backup.jobs.installation import Installation

_STATUS = re.compile(r"(.+)\.json")
_LONGEST_CONFIGURATION = 1 << 20
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """What to read from. `place` is an offsite's name, or REMOTE:PATH or a directory that no configuration has.

    `identity` has the keys to decrypt with. A bucket with versions is looked at as it was at the time `as_of`, "" for
    now. `rclone_config` is what rclone knows the place by, where that is not the configuration's file or its own usual
    one; `host` is needed where several send there.
    """

    place: str
    identity: Path | None = None
    as_of: str = ""
    rclone_config: Path | None = None
    host: str = ""


@dataclass(frozen=True, slots=True)
class There:
    """A host's folder at an offsite, and what it is read with."""

    offsite: Offsite
    host: str
    state: Path
    identity: Path | None
    as_of: str

    def remote(self, brake: Brake | None = None) -> Remote:
        """What reaches it."""
        return Remote(self.offsite, self.state, brake=brake, as_of=self.as_of)

    def __str__(self) -> str:
        return f"{self.offsite.remote}/{self.host}"


def there(installation: Installation, asked: Asked) -> There:
    """What is meant. UsageError, or NotFoundError, which name what there is."""
    offsite = _offsite(installation, asked)
    as_of = _as_of(offsite, asked.as_of)
    remote = Remote(offsite, installation.state, as_of=as_of)
    own = known_host(installation.state)
    here = layout.host_folder(own.host, own.host_id).rpartition("-")[2] if own.host_id else ""
    return There(offsite, _host(remote, asked, here), installation.state, asked.identity, as_of)


def _offsite(installation: Installation, asked: Asked) -> Offsite:
    known: Mapping[str, Offsite] = {}
    with suppress(BackupError):  # where this machine has no configuration any more, a place will do
        known = installation.config.offsites
    if asked.place in known:
        if asked.rclone_config is not None:
            raise UsageError(
                f"The configuration says how {asked.place} is reached",
                f"Its rclone_config is {known[asked.place].rclone_config or 'none, as it is a directory'}",
                "Leave out --rclone-config, or give --from REMOTE:PATH",
            )
        return known[asked.place]
    if "/" not in asked.place and ":" not in asked.place:
        raise NotFoundError(
            f"There is no offsite {asked.place}",
            f"The configuration has: {', '.join(known) or 'none'}",
            "Name one of these, or give REMOTE:PATH with --rclone-config FILE, or a directory",
        )
    fault = remote_fault(asked.place)
    if fault is not None:
        raise UsageError(f"What --from names {fault.message}", "", fault.hint)
    offsite = Offsite(name=asked.place, remote=asked.place)
    if not offsite.is_local:
        file = asked.rclone_config or _rclone_config(asked.place, known.values())
        offsite = replace(offsite, rclone_config=str(file.absolute()) if file is not None else None)
    if not offsite.is_local and offsite.rclone_config is None:
        raise UsageError(
            f"How {asked.place} is reached is not known",
            "It is no offsite of the configuration",
            "Give the file that `rclone config` wrote: --rclone-config FILE",
        )
    return offsite


def _rclone_config(place: str, known: Iterable[Offsite]) -> Path | None:
    """The file that is likely to have REMOTE of REMOTE:PATH: an offsite's, or that to which `rclone config` writes."""
    for each in known:
        if each.rclone_config is not None and each.remote.partition(":")[0] == place.partition(":")[0]:
            return Path(each.rclone_config)
    usual = Path(os.path.expanduser("~/.config/rclone/rclone.conf"))
    with suppress(OSError):
        found = os.stat(usual)
        if found.st_uid in (0, os.geteuid()) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return usual  # what is in it may start programs: nobody else may have written it
    return None


# ---- the host


def _host(remote: Remote, asked: Asked, here: str) -> str:
    """The folder of the host whose backups are meant: this host's, or the only one's, unless one is named.

    This host's has the id `here` in its name, whatever the host was called when it first sent there.
    """
    hosts = _hosts(remote)
    if asked.host:
        called = [each for each in hosts if each.rpartition("-")[0] == asked.host]
        found = [each for each in hosts if each == asked.host] or called
    else:
        found = [each for each in hosts if each.rpartition("-")[2] == here] or hosts
    if len(found) == 1:
        return found[0]
    shown = ", ".join((found or hosts)[:_SHOWN]) + ", ..." * (len(found or hosts) > _SHOWN)
    if not hosts:
        raise NotFoundError(f"There are no backups at {asked.place}", "No host has sent any there")
    if not found:
        raise NotFoundError(f"No host {asked.host} has sent to {asked.place}", f"There are: {shown}")
    raise UsageError(f"Several hosts send to {asked.place}", f"There are: {shown}", "Say whose with --host HOST")


def _hosts(remote: Remote) -> list[str]:
    """The folders of hosts, by what these tell of themselves; where nothing does, by a listing of all that is there."""
    told = {match[1] for each in remote.list(layout.STATUS_FOLDER) if (match := _STATUS.fullmatch(_last(each.name)))}
    if not told:
        told = {each.name.partition("/")[0] for each in remote.list()}
    return sorted(each for each in told if layout.is_host_folder(each))


def _last(name: str) -> str:
    return name.rpartition("/")[2]


# ---- the time


def _as_of(offsite: Offsite, text: str) -> str:
    """The time as rclone reads it. UsageError when it is none, or the place keeps no versions that rclone can show."""
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text} is no time", "", "Give it as 2026-11-20T08:00:00Z, or 2026-11-20") from error
    if not _is_s3(offsite):
        raise UsageError(
            f"{offsite.name} cannot be looked at as it was",
            "Only a bucket of S3's kind (type = s3 in rclone's configuration) that keeps versions can",
            "Leave out --as-of",
        )
    return iso(moment.astimezone(UTC))


def _is_s3(offsite: Offsite) -> bool:
    if offsite.is_local or offsite.rclone_config is None:
        return False
    sections = ConfigParser(interpolation=None, strict=False)
    with suppress(OSError, ConfigParserError, UnicodeDecodeError):
        content = read_regular(offsite.rclone_config, _LONGEST_CONFIGURATION, follow=True)
        sections.read_string(content.decode())
    return sections.get(offsite.remote.partition(":")[0], "type", fallback="") == "s3"

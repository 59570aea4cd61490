"""The recovery kit of this machine: what of configuration, key and guide somebody needs when it is gone."""

import re
from collections.abc import Mapping
from pathlib import Path

from hiveden_backup.core.config.values import Config, Job, Offsite
from hiveden_backup.core.errors import NotFoundError, UsageError
from hiveden_backup.core.model import Owner
from hiveden_backup.core.offsite.kit import Kit, KitJob, KitPlace
from hiveden_backup.core.offsite.layout import host_folder
from hiveden_backup.core.offsite.rclone_settings import for_paper, is_encrypted, sections
from hiveden_backup.host import guides
from hiveden_backup.host.disk.durable import UnfitFileError, read_regular
from hiveden_backup.host.state.identity import this_host
from hiveden_backup.host.state.key import this_key
from hiveden_backup.host.state.kits import ConfirmedKit, confirm_kit, confirmed_kit
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.place import host_of

_LONGEST_CONFIGURATION = 1 << 20
_LONGEST_IDENTITY = 16 << 10
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FROM_OFFSITE = "From an offsite: the backup directory is gone"
_REMOTE = "b2:bucket/backups/nas-1a2b3c4d"
_SIGNER = "ssh-ed25519 AAAA... hiveden-backup"


def recovery_kit(installation: Installation, identity: Path | None = None) -> Kit:
    """The kit as it is to be today. `identity` is a file with what decrypts, only for a copy on paper."""
    config, key = installation.config, this_key(installation.state)
    host = this_host(installation.state)
    folders = {name: _folder(installation, each, host) for name, each in config.offsites.items()}
    return Kit(
        made=installation.now(),
        host=host.host,
        host_id=host.host_id,
        fingerprint=key.fingerprint,
        public=key.public,
        directory=config.directory,
        config_file=str(installation.config_file),
        places=tuple(_place(each, folders[name]) for name, each in config.offsites.items()),
        jobs=tuple(_job(config, each) for each in config.jobs.values()),
        recipe=_recipe(config, folders, key.public),
        identity=_identity(identity) if identity is not None else (),
    )


def confirm(installation: Installation) -> None:
    """A person has the kit, as it is today."""
    confirm_kit(installation.state, _today(installation))


def is_confirmed(installation: Installation) -> bool:
    """Whether a person has said that he has a kit on which the same keys and places stand as would today."""
    last, now = confirmed_kit(installation.state), _today(installation)
    return last is not None and (last.recipients, dict(last.offsites)) == (now.recipients, dict(now.offsites))


def _today(installation: Installation) -> ConfirmedKit:
    offsites = installation.config.offsites
    recipients = {recipient for each in offsites.values() for recipient in each.recipients}
    remotes = {name: each.remote for name, each in sorted(offsites.items())}
    return ConfirmedKit(installation.now(), tuple(sorted(recipients)), remotes)


# ---- what is on it


def _job(config: Config, job: Job) -> KitJob:
    content = [*job.paths, *(f"volume {name}" for name in job.volumes)]
    for source in job.postgres:
        names = [f"database {name}" for name in source.databases] or ["all databases"]
        content += [f"{name} of {source.server}" for name in names]
    return KitJob(job.name, tuple(content), tuple(each.name for each in config.offsites_of(job)))


def _folder(installation: Installation, offsite: Offsite, host: Owner) -> str:
    """This host's folder there: it keeps its name when the host gets another one."""
    return host_of(installation, offsite) or host_folder(host.host, host.host_id)


def _place(offsite: Offsite, folder: str) -> KitPlace:
    settings, note = ((), "") if offsite.is_local else _settings(offsite)
    if offsite.is_local:
        note = "a directory of this machine: take its disk along, and mount it anywhere"
    return KitPlace(offsite.name, offsite.remote, folder, settings, note, offsite.recipients)


def _settings(offsite: Offsite) -> tuple[tuple[str, ...], str]:
    """The part of rclone's configuration, secrets to be filled in by hand; and why there is none."""
    file = offsite.rclone_config or ""
    try:
        text = read_regular(file, _LONGEST_CONFIGURATION, follow=True).decode("utf-8", "replace")
    except (OSError, UnfitFileError) as error:
        return (), f"{file} cannot be read ({error}): write down what rclone needs to know of this place"
    if is_encrypted(text):
        return (), f"{file} is encrypted: keep a copy of it elsewhere, and write its password here: {'_' * 40}"
    found = for_paper(offsite.remote.partition(":")[0], sections(text))
    return found, "" if found else f"{file} does not have this remote: write down what rclone needs to know of it"


def _recipe(config: Config, folders: Mapping[str, str], public: str) -> tuple[str, ...]:
    """The guide's own lines, with this machine's names in them."""
    text, local, fetched = guides.guide("leaving"), config.directory, list[str]()
    place = next(iter(config.offsites.values()), None)
    jobs = [each.name for each in config.jobs.values() if place is None or place in config.offsites_of(each)]
    if place is not None:
        local = "/var/tmp/back"  # noqa: S108 - where the guide puts what it fetches
        slash = "" if place.remote.endswith((":", "/")) else "/"
        remote = f"{place.remote}{slash}{folders[place.name]}".replace("'", r"'\''")
        names, files, archives = (each.replace(_REMOTE, remote) for each in _blocks(text, _FROM_OFFSITE)[1:])
        fetched = [
            f"# a job, and its newest backup: rclone lsf '{remote}/JOB'\n{names.replace(_SIGNER, public)}",
            f"# its own files\n{files}",
            f"# its archives\n{archives}",
        ]
    _, database, roles = _blocks(text, "A database")
    last = [
        f"# all of its files\n{_blocks(text, 'All files')[0]}",
        f"# the roles of a server on this machine, and a database\n{roles}{database}",
    ]
    placed = re.sub("/srv/backups/(?:immich|shop)(?=/)", f"{local}/immich", "".join([*fetched, *last]))
    return tuple(re.sub(r"(?<=/)immich(?=[/' ])", jobs[0] if jobs else "JOB", placed).rstrip("\n").split("\n"))


def _blocks(text: str, heading: str) -> list[str]:
    part = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [match[1] for match in _BLOCK.finditer(part)]


def _identity(file: Path) -> tuple[str, ...]:
    """The lines of a file with keys that decrypt, without its comments. UsageError when there is none in it."""
    try:
        text = read_regular(file, _LONGEST_IDENTITY, follow=True).decode("ascii")
    except (OSError, UnfitFileError) as error:
        raise NotFoundError(f"The identity {file} cannot be read", str(error), "Say which file has it") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no text", "An identity of age is one", "Say which file has it") from error
    lines = tuple(line for line in text.split("\n") if line and not line.startswith("#"))
    if not any(line.startswith(("AGE-SECRET-KEY-", "AGE-PLUGIN-", "-----BEGIN ")) for line in lines):
        raise UsageError(f"{file} has no identity in it", "", "Give the file that age-keygen wrote")
    return lines

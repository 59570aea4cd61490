"""What `check` says of offsites: that they are reached and keep what they get, and that somebody could read it."""

import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hiveden_backup.core.config.values import Job, Offsite
from hiveden_backup.core.errors import BackupError, CorruptError, DeniedError
from hiveden_backup.core.model import Check, Finding
from hiveden_backup.core.offsite.rclone_settings import sections
from hiveden_backup.core.paths import inside
from hiveden_backup.host.disk.durable import UnfitFileError, read_regular, translated, write_durably
from hiveden_backup.host.offsite import age
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.offsite.tools import version
from hiveden_backup.host.state.offsites import Offsites
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.kit import is_confirmed
from hiveden_backup.jobs.run.plan import Findings

_LONGEST_CONFIGURATION = 1 << 20
_OPENING = ("key_file", "service_account_file")
_READ = ("known_hosts_file",)
_UNSEEN = ("/home", "/root", "/run/user", "/media", "/mnt", "/srv")
_PROBE_BYTES = 512


def offsite_findings(installation: Installation, jobs: Iterable[Job]) -> Sequence[Finding]:
    """What there is to say of the offsites that these jobs' backups go to; nothing where there are none."""
    config, findings = installation.config, Findings("")
    offsites = {each.name: each for job in jobs for each in config.offsites_of(job)}.values()
    if not offsites:
        return ()
    programs = ["rclone", *(["age"] if any(each.encrypt for each in offsites) else [])]
    with findings.check(Check.TOOLS):
        findings.ok(Check.TOOLS, ", ".join(version(program) for program in programs))
    can_try = not findings.failed
    for offsite in offsites:
        own = Findings("")
        _check_recipients(own, offsite)
        _check_credentials(own, offsite)
        if can_try and not own.failed:
            _check_remote(own, installation, offsite)
        findings.all.extend(own.all)
    _check_kit(findings, installation)
    return findings.all


def _check_kit(findings: Findings, installation: Installation) -> None:
    """Somebody knows what to do when this machine is gone."""
    with findings.check(Check.RECOVERY_KIT):
        if is_confirmed(installation):
            findings.ok(Check.RECOVERY_KIT, "confirmed, with today's places and keys")
        else:
            findings.warn(
                Check.RECOVERY_KIT,
                "nobody has said that there is one with today's places and keys",
                "Print one, and keep it elsewhere: hiveden-backup recovery-kit --svg FILE; "
                "then hiveden-backup recovery-kit --confirm",
            )


def _check_recipients(findings: Findings, offsite: Offsite) -> None:
    """Somebody can decrypt what lies there, also when one key is lost; and nobody else can."""
    name = offsite.name
    if not offsite.encrypt:
        findings.warn(
            Check.OFFSITE,
            f"{name}: backups lie there in the clear: encrypt = false",
            "Name recipients instead, unless only you can read what is there",
        )
        return
    with findings.check(Check.OFFSITE):
        age.insist_on(offsite.recipients)
        if len(offsite.recipients) > 1:
            findings.ok(Check.OFFSITE, f"{name}: {len(offsite.recipients)} keys open what lies there")
        else:
            findings.warn(
                Check.OFFSITE,
                f"{name}: only one key opens what lies there; when it is lost, so are the backups",
                "Make a second one with `age-keygen`, keep it on paper, and add its public part to `recipients`",
            )


def _check_credentials(findings: Findings, offsite: Offsite) -> None:
    """Nobody but root reads what opens the place, or changes it."""
    if offsite.rclone_config is None:
        return
    settings = _settings(offsite.rclone_config, offsite.remote.partition(":")[0])
    named = {key: os.path.expanduser(settings[key]) for key in (*_OPENING, *_READ) if settings.get(key)}
    for file in (offsite.rclone_config, *(named[key] for key in _OPENING if key in named)):
        _insist_on_closed(findings, offsite, file)
    for file in named.values():
        if any(inside(file, unseen) for unseen in _UNSEEN):
            findings.warn(
                Check.OFFSITE,
                f"{offsite.name}: the unit that sends backups does not see {file}",
                f"Put it into /etc/hiveden-backup, and name that place in {offsite.rclone_config}",
            )


def _settings(file: str, remote: str) -> Mapping[str, str]:
    """What rclone's configuration says of a remote; nothing where it cannot be read, which is told elsewhere."""
    with suppress(OSError, UnfitFileError, UnicodeDecodeError):
        return sections(read_regular(file, _LONGEST_CONFIGURATION, follow=True).decode()).get(remote, {})
    return {}


def _insist_on_closed(findings: Findings, offsite: Offsite, file: str) -> None:
    with findings.check(Check.OFFSITE), translated(f"looking at {file}, which opens {offsite.name}"):
        found = os.stat(file)
        if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise DeniedError(
                f"{offsite.name}: others may read or change {file}, which opens the place",
                f"Its owner is {found.st_uid}, its mode {stat.S_IMODE(found.st_mode):04o}",
                f"Close it: chown root:root {file} && chmod 600 {file}",
            )


# ---- the place itself


def _check_remote(findings: Findings, installation: Installation, offsite: Offsite) -> None:
    """What is sent there can be read back; a key that may do less is a good one, and told."""
    remote = Remote(offsite, installation.state)
    with findings.check(Check.OFFSITE), tempfile.TemporaryDirectory(prefix="hiveden-backup-") as folder:
        name = f"{_folder(installation, offsite)}.probe-{secrets.token_hex(8)}"
        sent = Path(folder, "probe")
        write_durably(sent, secrets.token_bytes(_PROBE_BYTES))
        remote.put(sent, name)
        _read_back(findings, remote, name, read_regular(sent, _PROBE_BYTES))
        try:
            remote.remove([name])
        except DeniedError as error:
            findings.warn(
                Check.OFFSITE,
                f"{offsite.name}: its key may not remove anything, so nothing is pruned there. A thief of this machine "
                f"can still write over what is there, unless older versions are kept. {error.why}",
                "Let no rule of the place remove objects by their age, as new backups need old archives: "
                "hiveden-backup guide offsite",
            )
            remote.put(sent, name)  # over itself: what it was is a version now, where there are any
        _check_versions(findings, remote, name)


def _read_back(findings: Findings, remote: Remote, name: str, sent: bytes) -> None:
    """It is there, as it was sent. CorruptError."""
    offsite = remote.offsite
    try:
        found = remote.read(name, len(sent))
    except DeniedError as error:
        findings.warn(
            Check.OFFSITE,
            f"{offsite.name}: {offsite.remote} takes what is sent, but its key may not read that: nobody can verify it "
            f"from here. {error.why}",
            "Let its key list and read",
        )
        return
    if found != sent:
        with suppress(BackupError):
            remote.remove([name])
        raise CorruptError(
            f"{offsite.name}: what was sent came back as something else",
            f"{name} is not what was written there a moment before",
            "Nothing can be kept at such a place",
        )
    findings.ok(Check.OFFSITE, f"{offsite.name}: {offsite.remote} takes what is sent, and gives it back")


def _folder(installation: Installation, offsite: Offsite) -> str:
    """This host's folder there, with its end; none while it has none, since one that was made would stay."""
    place = Offsites(installation.state).place(offsite.name)
    return f"{place.host}/" if place is not None else ""


def _check_versions(findings: Findings, remote: Remote, name: str) -> None:
    """A bucket keeps what is overwritten or removed, where that can be told."""
    kept = remote.keeps_versions(name)
    if kept:
        findings.ok(Check.OFFSITE, f"{remote.offsite.name}: the bucket keeps versions")
    elif kept is not None:
        findings.warn(
            Check.OFFSITE,
            f"{remote.offsite.name}: the bucket keeps no versions: who has this machine can destroy what lies there",
            "Switch versions on, and give this machine a key that may not remove them: hiveden-backup guide offsite",
        )

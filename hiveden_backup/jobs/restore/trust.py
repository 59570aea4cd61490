"""Whether a backup may be restored in place: only what this host signed is believed, or what a person answers for.

Who can write to the backup directory can forge a backup, which decides what is written here as root.
"""

from pathlib import Path

from hiveden_backup.core.backup.layout import LONGEST_SUMS, MANIFEST, SUMS, parse_sums
from hiveden_backup.core.backup.signature import How, Signature, Signed
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, CorruptError, DeniedError
from hiveden_backup.core.model import Manifest
from hiveden_backup.host.disk.durable import read_regular
from hiveden_backup.host.disk.repository import BackupDirectory, unread
from hiveden_backup.host.log import log
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.backups.counted import counted
from hiveden_backup.jobs.backups.signing import chain_of, forged, judged, proof_of
from hiveden_backup.jobs.installation import Installation

_STEERS = "Restored in place, it decides what is written on this machine, as root"


@dataclass(frozen=True, slots=True)
class Consent:
    """What a person answers for: a backup that the key with the fingerprint `trust` signed, or an `unsigned` one.

    `beyond` is what a backup names, and today's job does not have.
    """

    trust: str = ""
    unsigned: bool = False
    beyond: bool = False


@dataclass(frozen=True, slots=True)
class Believed:
    """A backup that may be restored in place: its manifest, and the content of its SHA256SUMS, as they were signed."""

    manifest: Manifest
    sums: bytes


def believed(installation: Installation, directory: BackupDirectory, backup: Backup, consent: Consent) -> Believed:
    """The backup, whose signature was looked at just now, and is this host's, or one that `consent` is for.

    CorruptError when it is forged, DeniedError when consent is missing, UnreachableError when no signature can be
    looked at. That its files are what SHA256SUMS says is for `check_sums` to see.
    """
    path = directory.backup_path(backup.job, backup.id)
    directory.manifest(backup.job, backup.id)  # there is such a backup, and it is no other one's
    sums = _sums(path / SUMS)
    signature = judged(installation, directory, backup.job, backup.id, proof_of(path, sums))
    try:
        _check_consent(installation, directory, backup, signature, consent)
    except (CorruptError, DeniedError) as error:
        ours = next(iter(counted(installation, directory, backup.job).own), "")
        if ours not in ("", backup.id):
            error.hint += f". The newest that this machine made is {backup.job}/{ours}"
        raise
    try:
        listed = parse_sums(sums)
    except ValueError as error:
        raise CorruptError(f"{path / SUMS} is damaged", str(error), "Use another backup") from error
    manifest = directory.manifest(backup.job, backup.id, listed.get(MANIFEST, ""))
    for file in (file for artifact in manifest.artifacts for file in artifact.files):
        if listed.get(file.file) != file.sha256:
            raise CorruptError(f"{path / file.file} is not what the manifest says", "", "Use another backup")
    return Believed(manifest, sums)


def _sums(path: Path) -> bytes:
    try:
        return read_regular(path, LONGEST_SUMS)
    except FileNotFoundError as error:
        raise CorruptError(f"{path} is missing", "", "Use another backup") from error
    except OSError as error:
        raise unread(path, error) from error


def _check_consent(
    installation: Installation, directory: BackupDirectory, backup: Backup, signature: Signature, consent: Consent
) -> None:
    match signature.state:
        case Signed.HERE:
            return
        case Signed.FORGED:
            raise forged(str(backup), signature)
        case Signed.UNSIGNED:
            if consent.unsigned:
                return
            known = chain_of(installation, directory, backup.job).known(backup.id)
            if known is not None and known.how is How.OLD:
                raise DeniedError(
                    f"{backup} is not signed",
                    f"It is from a version that did not sign. {_STEERS}",
                    f"Add --unsigned, or let it be looked at and signed first: hiveden-backup verify {backup}",
                )
            raise DeniedError(
                f"{backup} is not signed, so nothing tells who made it",
                _STEERS,
                "If you know where it is from, add --unsigned; files can be looked at first with --to DIR",
            )
    if consent.trust and consent.trust == signature.fingerprint:
        return
    raise DeniedError(
        f"{backup} was not signed by this machine, but by {signature.fingerprint}",
        f"That is not {consent.trust}" if consent.trust else _STEERS,
        "If that is the key of a machine of yours (there, `hiveden-backup config show --key` prints it), "
        f"add --trust {signature.fingerprint}; files can be looked at first with --to DIR",
    )


def warn_of(installation: Installation, directory: BackupDirectory, backup: Backup, sums: bytes) -> None:
    """Warn, unless this host signed a backup, that is about to be restored beside what is there."""
    path = directory.backup_path(backup.job, backup.id)
    try:
        signature = judged(installation, directory, backup.job, backup.id, proof_of(path, sums))
    except BackupError as error:
        log.warning(f"Who made {backup} cannot be told. {error}", job=backup.job)
        return
    if signature.state is not Signed.HERE:
        why = f". {signature.why}" if signature.why else ""
        log.warning(f"This machine did not make {backup}, which is {signature}{why}", job=backup.job)

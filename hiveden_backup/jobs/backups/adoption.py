"""Backups of a version that did not sign: each is signed after it was verified here."""

from typing import TYPE_CHECKING

from hiveden_backup.core.backup.layout import SIGNATURE, incoming
from hiveden_backup.core.backup.signature import How
from hiveden_backup.core.errors import BackupError
from hiveden_backup.host.disk.durable import translated, write_durably
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.later import Later
from hiveden_backup.host.log import log
from hiveden_backup.host.state.key import this_key
from hiveden_backup.host.state.locks import job_lock
from hiveden_backup.jobs.backups.ownership import OwnJob, owned
from hiveden_backup.jobs.backups.signing import chain_of, lies, noted, proof_of, remember
from hiveden_backup.jobs.installation import Installation

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = Later("hashlib")


def adopted(installation: Installation, directory: BackupDirectory, job: str, backup: str, sums: bytes) -> bool:
    """Sign an old backup, all of which was seen just now to be what `sums` says; whether there was one to be signed.

    Nothing comes of it while the job is busy, or another host's, or its directory cannot be written.
    """
    try:
        known = chain_of(installation, directory, job).known(backup)
        if known is None or known.how is not How.OLD:
            return False
        with job_lock(installation.state, job) as locked:
            return _adopt(installation, owned(installation, directory, locked), backup, sums)
    except BackupError as error:
        log.warning(f"{job}/{backup} is not signed yet. {error}", job=job)
        return False


def _adopt(installation: Installation, job: OwnJob, backup: str, sums: bytes) -> bool:
    chain = noted(installation, job.directory, job.locked)
    known = chain.known(backup)
    if known is None or known.how is not How.OLD or hashlib.sha256(sums).hexdigest() != known.sums:
        return False
    key, path = this_key(installation.state), job.directory.backup_path(job.name, backup)
    with translated(f"signing {job.name}/{backup}"):
        if lies(path).signed:  # by an adoption that was broken off, or by somebody else
            if proof_of(path, sums).signer != key.fingerprint:
                return False
        else:
            with key.signing(sums) as signature:
                content = signature()
            write_durably(path / SIGNATURE, content, path.parent / incoming(f"signature-{backup}"))
    remember(installation, job.directory, job.locked, chain.adopted(backup, key.fingerprint))
    return True

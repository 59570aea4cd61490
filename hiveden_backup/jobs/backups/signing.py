"""Whose the backups of a job are: what lies in the backup directory, held against what this host remembers of it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hiveden_backup.core.backup.chain import Chain, begun
from hiveden_backup.core.backup.layout import LONGEST_SIGNATURE, LONGEST_SUMS, SIGNATURE, SUMS
from hiveden_backup.core.backup.signature import How, Lying, Signature, judge
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, CorruptError
from hiveden_backup.host.disk.durable import read_regular
from hiveden_backup.host.disk.owners import owner_of
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.later import Later
from hiveden_backup.host.log import log
from hiveden_backup.host.state.chains import chains_of, put_chains
from hiveden_backup.host.state.identity import known_host
from hiveden_backup.host.state.key import own_fingerprint, prove
from hiveden_backup.host.state.locks import ExclusiveJob
from hiveden_backup.host.state.records import Verification
from hiveden_backup.jobs.installation import Installation

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = Later("hashlib")


@dataclass(frozen=True, slots=True)
class Proof:
    """What a look at a backup's signature gave. `signer` is None where there is none, "" where it does not fit.

    `evidence` stands for what was looked at: the same sums and signature have the same one.
    """

    lying: Lying
    evidence: str = ""
    signer: str | None = None


# ---- what lies there


def lies(path: str | Path) -> Lying:
    """What lies in the backup's directory `path`, without a look at the signature."""
    try:
        digest = hashlib.sha256(read_regular(f"{path}/{SUMS}", LONGEST_SUMS)).hexdigest()
    except OSError:
        digest = ""
    return Lying(digest, os.path.lexists(f"{path}/{SIGNATURE}"))


def proof_of(path: Path, sums: bytes) -> Proof:
    """Whether the signature that lies in the backup's directory `path` is one of its SHA256SUMS, and whose.

    UnreachableError when it cannot be told, since ssh-keygen is not installed.
    """
    lying = Lying(hashlib.sha256(sums).hexdigest(), lies(path).signed)
    if not lying.signed:
        return Proof(lying)
    signature = _signature(path)
    return Proof(lying, _evidence(sums, signature), prove(sums, signature) if signature else "")


def _signature(path: str | Path) -> bytes:
    """The signature's file; empty where it is none that could fit."""
    try:
        return read_regular(f"{path}/{SIGNATURE}", LONGEST_SIGNATURE)
    except OSError:
        return b""


def evidence_of(path: str | Path, sums: bytes) -> str:
    """What stands for the SHA256SUMS and the signature of the backup in the directory `path`."""
    return _evidence(sums, _signature(path))


def _evidence(sums: bytes, signature: bytes) -> str:
    return hashlib.sha256(hashlib.sha256(sums).digest() + signature).hexdigest()


def _all(directory: BackupDirectory, job: str) -> dict[str, Lying]:
    """What lies there of each backup, newest first."""
    return {backup: lies(f"{directory.path}/{job}/{backup}") for backup in directory.backups(job)}


# ---- what is remembered


def chain_of(installation: Installation, directory: BackupDirectory, job: str) -> Chain:
    """What this host remembers of the job's backups in an opened directory. StorageError.

    Where it remembers nothing of any directory, the backups that it made before there were signatures count as its own
    from now on, and are signed once they are verified. In a directory that it sees for the first time, nothing does.
    """
    chains = chains_of(installation.state, job)
    found = chains.directories.get(directory.id)
    if found is not None:
        return found
    if chains.directories:
        return Chain()
    lying = _all(directory, job)
    made_here = any(record.backup in lying for _, record in installation.records.runs(job))
    return begun(lying, How.OLD if made_here else How.FOUND)


def noted(installation: Installation, directory: BackupDirectory, job: ExclusiveJob) -> Chain:
    """As `chain_of`, without what broken off acts have left in it; durable from the first time on."""
    chain = chain_of(installation, directory, job.name)
    if directory.id not in chains_of(installation.state, job.name).directories:
        remember(installation, directory, job, chain)
    return chain.settled(directory.backups(job.name), partial(_published, installation, job.name))


def remember(installation: Installation, directory: BackupDirectory, job: ExclusiveJob, chain: Chain) -> None:
    """Remember this of the job's backups in an opened directory, durably."""
    put_chains(installation.state, job, chains_of(installation.state, job.name).put(directory.id, chain))


def leaving(installation: Installation, directory: BackupDirectory, job: ExclusiveJob, backups: list[str]) -> None:
    """Remember that these backups are about to be removed by this program."""
    if backups:
        remember(installation, directory, job, noted(installation, directory, job).going(backups))


def made(chain: Chain, backup: str, sums: bytes, key: str) -> Chain:
    """With a backup that is about to be visible."""
    return chain.making(backup, hashlib.sha256(sums).hexdigest(), key)


def taken(installation: Installation, directory: BackupDirectory, job: ExclusiveJob) -> None:
    """Remember what lies there as it is: a person has said that it is meant."""
    known = chains_of(installation.state, job.name).directories.get(directory.id, Chain())
    remember(installation, directory, job, known.accepted(_all(directory, job.name)))


def _published(installation: Installation, job: str, backup: str) -> bool:
    return any(record.backup == backup for _, record in installation.records.runs(job))


# ---- what that says


@dataclass(frozen=True, slots=True)
class Signatures:
    """Whose the backups of a job are, as far as this can be told without a look at their signatures."""

    directory: BackupDirectory
    job: str
    chain: Chain
    own: str

    def of(self, backup: str, verified: Verification | None) -> Signature:
        """Whose one backup is; what its last verification saw of its signature counts while it is the same."""
        path = f"{self.directory.path}/{self.job}/{backup}"
        lying, evidence = lies(path), ""
        if lying.signed and verified is not None and verified.evidence:
            with suppress(OSError):
                evidence = evidence_of(path, read_regular(f"{path}/{SUMS}", LONGEST_SUMS))
        return self.judged(backup, verified, lying, evidence)

    def judged(self, backup: str, verified: Verification | None, lying: Lying, evidence: str) -> Signature:
        """As `of`, for who knows what lies there, and the evidence of it."""
        fits = verified is not None and bool(verified.evidence) and lying.signed and verified.evidence == evidence
        return judge(self.chain.known(backup), lying, self.own, verified.signer if verified and fits else None)


def signatures(installation: Installation, directory: BackupDirectory, job: str) -> Signatures:
    """For the backups of one job."""
    try:
        chain = chain_of(installation, directory, job)
    except BackupError as error:  # what is there must be seen all the same
        log.warning(str(error), job=job)
        chain = Chain()
    return Signatures(directory, job, chain, own_fingerprint(installation.state))


def judged(installation: Installation, directory: BackupDirectory, job: str, backup: str, proof: Proof) -> Signature:
    """Whose a backup is, with the proof of its signature."""
    chain = chain_of(installation, directory, job)
    return judge(chain.known(backup), proof.lying, own_fingerprint(installation.state), proof.signer)


def forged(backup: str, signature: Signature) -> CorruptError:
    """The error for a backup that is."""
    return CorruptError(
        f"{backup} is forged, or was damaged",
        signature.why,
        "It is not what was made: use another backup, and see who can write to the backup directory",
    )


def reasons(installation: Installation, job: Job) -> Iterator[str]:
    """What is not as this host left it, which needs a person's attention."""
    said = changes(installation, installation.directory, job.name)
    if said:  # a run that goes on meanwhile is no reason
        still = changes(installation, installation.directory, job.name)
        said = tuple(each for each in said if each in still)
    for number, sentence in enumerate(said, 1):
        yield sentence + (f". If that is meant: hiveden-backup accept {job.name}" if number == len(said) else ".")


def changes(installation: Installation, directory: BackupDirectory, job: str) -> tuple[str, ...]:
    """What is not as this host left it in an opened directory, a sentence each, as it looks in this moment."""
    owner = owner_of(directory.job_path(job))
    if owner is not None and owner.host_id != known_host(installation.state).host_id:
        return ()  # that host looks after them
    lying: Mapping[str, Lying] = _all(directory, job)
    newest = next(iter(lying), "")
    chain = chain_of(installation, directory, job)
    return chain.changes(lying, newest, partial(_published, installation, job))

"""Encryption for keys that this machine does not have, by age(1): streams in, streams out."""

import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from hiveden_backup.core.errors import (
    BackupError,
    CorruptError,
    DeniedError,
    NotFoundError,
    UnfitError,
    UnreachableError,
)
from hiveden_backup.core.lines import split_lines
from hiveden_backup.host.disk.durable import UnfitFileError, opened
from hiveden_backup.host.process import Brake, Command, Pipeline, ProcessError, find_program, run

PROGRAM = "age"
_KEYGEN = "age-keygen"
_SECONDS = 30
_NO_MATCH = re.compile(r"no identity matched|incorrect identity|no identities? (?:found|specified)", re.IGNORECASE)
_DAMAGED = re.compile(
    r"failed to (?:decrypt|read header)|unexpected EOF|parsing age header|authenticate", re.IGNORECASE
)
_IDENTITY = re.compile(r"identit(?:y|ies)|malformed secret key|passphrase|reading \"", re.IGNORECASE)


def encryptor(recipients: Sequence[str]) -> Command:
    """What encrypts its input for all these recipients. UnreachableError when age is not installed."""
    if not recipients:
        raise AssertionError("for nobody at all")
    return Command((_program(PROGRAM), "--encrypt", *(part for each in recipients for part in ("-r", each))))


def encrypt(pieces: Iterable[bytes], recipients: Sequence[str], target: int, *, brake: Brake | None = None) -> None:
    """Encrypt `pieces` for all these recipients into an open descriptor. UnfitError when age does not take one."""
    try:
        with Pipeline(encryptor(recipients), stdin=subprocess.PIPE, stdout=target, brake=brake) as pipeline:
            for piece in pieces:
                pipeline.stdin.write(piece)
    except ProcessError as error:
        if "recipient" not in error.stderr:
            raise
        raise UnfitError(
            "A recipient is none that age knows",
            _said(error),
            "Look at `recipients` of the offsite, and at age --version",
        ) from error


def insist_on(recipients: Sequence[str]) -> None:
    """UnfitError when age does not take one of these recipients; nothing is kept."""
    try:
        run(encryptor(recipients), timeout=_SECONDS)
    except ProcessError as error:
        raise UnfitError(
            "A recipient is none that age knows",
            _said(error),
            "Look at `recipients` of the offsite, and at age --version",
        ) from error


def decryptor(identity: Path) -> Command:
    """What decrypts its input with the keys in the file `identity`. UnreachableError when age is not installed."""
    return Command((_program(PROGRAM), "--decrypt", "-i", str(identity)))


def decrypt(
    source: IO[bytes], identity: Path | None, target: int, recipients: Sequence[str], *, brake: Brake | None = None
) -> None:
    """Decrypt an open file into an open descriptor. `recipients` are those it was made for, as far as is known.

    NotFoundError without an identity, DeniedError with one that does not fit, CorruptError when it is damaged.
    """
    with_identity = usable(identity, recipients)
    try:
        with Pipeline(decryptor(with_identity), stdin=source, stdout=target, brake=brake):
            pass
    except ProcessError as error:
        raise _translated(error, with_identity, recipients) from error


def usable(identity: Path | None, recipients: Sequence[str]) -> Path:
    """The file with the keys. NotFoundError, which says which keys are wanted, when there is none that can be read."""
    if identity is None:
        raise NotFoundError(
            "The backup is encrypted, and no key was given",
            wanted(recipients),
            "Say which file has it: --identity FILE",
        )
    try:
        with opened(identity, follow=True):
            return identity.absolute()
    except UnfitFileError as error:
        raise NotFoundError(f"The key {identity} is no file", error.strerror or "", wanted(recipients)) from error
    except OSError as error:
        why = error.strerror or str(error)
        raise NotFoundError(f"The key {identity} cannot be read", why, wanted(recipients)) from error


def wanted(recipients: Sequence[str]) -> str:
    """A sentence that says which keys open a backup; "" where that is not known."""
    if not recipients:
        return ""
    return f"What opens it is the secret part of {' or of '.join(recipients)}"


def public_keys(identity: Path) -> tuple[str, ...]:
    """The recipients that the keys in a file are for. UnfitError when it has none."""
    try:
        said = run(Command((_program(_KEYGEN), "-y", str(identity.absolute()))), timeout=_SECONDS).stdout
    except ProcessError as error:
        raise UnfitError(
            f"{identity} has no key of age", _said(error), "Make one: age-keygen -o FILE, and keep it off this machine"
        ) from error
    return tuple(line for line in split_lines(said.decode("ascii", "replace")) if line.startswith("age1"))


def _translated(error: ProcessError, identity: Path, recipients: Sequence[str]) -> BackupError:
    said = _said(error)
    if _NO_MATCH.search(said):
        return DeniedError(
            f"The key {identity} does not open this backup", wanted(recipients) or said, "Give that one with --identity"
        )
    if _DAMAGED.search(said):
        return CorruptError("What lies there cannot be decrypted", said, "Verify it: hiveden-backup offsite verify")
    if _IDENTITY.search(said):
        return DeniedError(f"The key {identity} cannot be used", said, wanted(recipients))
    return error


def _said(error: ProcessError) -> str:
    """What age said, in one line, without its advice on where to report bugs."""
    lines = [line.removeprefix("age: ").removeprefix("error: ") for line in split_lines(error.stderr) if line.strip()]
    return "; ".join(line for line in lines if "report unexpected" not in line)


def _program(name: str) -> str:
    try:
        return find_program(name)
    except UnreachableError as error:
        raise UnreachableError(
            f"The program {name} is not installed",
            "Without it, nothing can be encrypted or decrypted",
            "Install it: apt-get install age",
        ) from error

"""The key that this host signs its backups with: ed25519 by ssh-keygen(1), 0600 in the state directory."""

import base64
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hiveden_backup.core.backup.signature import NAMESPACE, public_key, signer
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, NotFoundError, StorageError
from hiveden_backup.host.disk.durable import make_directory, read_regular, translated, write_once
from hiveden_backup.host.later import Later
from hiveden_backup.host.process import Command, Pipeline, ProcessError, find_program, run

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = Later("hashlib")

PROGRAM = "ssh-keygen"
_LONGEST = 64 << 10
_COMMENT = "hiveden-backup"
_NO_FIT = 255  # its status for every failure


@dataclass(frozen=True, slots=True)
class Key:
    """This host's key. `public` is the whole of the public part in one line, as OpenSSH writes it."""

    path: Path
    fingerprint: str
    public: str
    seed: bytes

    @contextmanager
    def signing(self, content: bytes) -> Iterator[Callable[[], bytes]]:
        """Begin to sign `content`, beside what the block does; what it gets gives the signature.

        ProcessError when there is none.
        """
        command = Command((find_program(PROGRAM), "-q", "-Y", "sign", "-f", str(self.path), "-n", NAMESPACE))
        with Pipeline(command, stdin=subprocess.PIPE) as pipeline:
            pipeline.stdin.write(content)
            pipeline.stdin.close()
            yield pipeline.stdout.read

    def seal(self, content: bytes) -> str:
        """What only this host can have said of `content`: for what it alone reads again."""
        inner = hashlib.sha256(b"seal\0" + self.seed).digest()
        return hashlib.blake2b(content, key=inner, digest_size=32).hexdigest()


def known_key(state: Path) -> Key | None:
    """This host's key; None while it has none. StorageError when it cannot be read."""
    path = state / "key"
    with translated(f"reading {path}", unwritable=StorageError), suppress(FileNotFoundError):
        content = read_regular(path, _LONGEST)
        try:
            public = public_key(content)
        except ValueError as error:
            raise StorageError(
                f"{path} is damaged, so backups cannot be signed",
                str(error),
                "Remove it: the next run makes a new key. What the old one signed then counts as another host's",
            ) from error
        plain = base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")
        line = f"ssh-ed25519 {base64.b64encode(public).decode()} {_COMMENT}"
        return Key(path, f"SHA256:{plain}", line, content)
    return None


def shown_key(state: Path) -> Key:
    """As `known_key`, for who wants to see it. NotFoundError while there is none."""
    key = known_key(state)
    if key is None:
        raise NotFoundError(
            "This machine has no key to sign backups with yet",
            "",
            "The first run of a job makes it, and so does hiveden-backup init",
        )
    return key


def own_fingerprint(state: Path) -> str:
    """The fingerprint of this host's key; "" while it has none, or it cannot be read."""
    with suppress(BackupError):
        key = known_key(state)
        return key.fingerprint if key is not None else ""
    return ""


def this_key(state: Path) -> Key:
    """As `known_key`; one is made, once and durably, when there is none: of several that do so at once, one does."""
    while (key := known_key(state)) is None:
        with translated(f"writing {state / 'key'}", unwritable=StorageError):
            make_directory(state)
            _make(state)
    return key


def _make(state: Path) -> None:
    growing = Path(tempfile.mkdtemp(prefix=".key.", dir=state))
    try:
        made = growing / "key"
        run(Command((find_program(PROGRAM), "-q", "-t", "ed25519", "-N", "", "-C", _COMMENT, "-f", str(made))))
        write_once(state / "key", read_regular(made, _LONGEST), growing / "whole")
    finally:
        shutil.rmtree(growing, ignore_errors=True)


def prove(content: bytes, signature: bytes) -> str:
    """The fingerprint of the key that made `signature` of `content`; "" when it did not.

    UnreachableError when ssh-keygen is not installed.
    """
    program = find_program(PROGRAM)
    descriptor = os.memfd_create("signature", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(signature)
        place = f"/proc/self/fd/{descriptor}"
        command = Command((program, "-Y", "check-novalidate", "-n", NAMESPACE, "-s", place), descriptors=(descriptor,))
        return signer(run(command, stdin=content).stdout)
    except ProcessError as error:
        if error.status != _NO_FIT:
            raise
        return ""
    finally:
        os.close(descriptor)

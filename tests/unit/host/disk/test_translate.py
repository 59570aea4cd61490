"""The next step that an error of the system gives: the disk is blamed for nothing else."""

import errno
import os

import pytest

from hiveden_backup.core.errors import BackupError, DeniedError, DirectoryError, StorageError
from hiveden_backup.host.disk.durable import translate


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, DirectoryError, "Free some space"),
        (errno.EDQUOT, DirectoryError, "Free some space"),
        (errno.EROFS, DirectoryError, "mounted read-only"),
        (errno.EIO, StorageError, "`dmesg` and the disk's health"),
        (errno.EFBIG, StorageError, "`ulimit -f`"),
        (errno.ENAMETOOLONG, StorageError, "a shorter name"),
        (errno.ENOTCONN, StorageError, "mount it again"),
        (errno.ESTALE, StorageError, "mount it again"),
        (errno.ENOENT, StorageError, "removes or replaces"),
        (errno.EOPNOTSUPP, StorageError, "cannot do this"),
        (errno.ELOOP, StorageError, "symbolic link"),
        (errno.EBUSY, StorageError, "Something uses it"),
        (errno.EMFILE, StorageError, "LimitNOFILE"),
        (errno.ENOMEM, StorageError, "memory"),
    ],
)
def test_an_error(number: int, kind: type[BackupError], words: str) -> None:
    found = translate(OSError(number, os.strerror(number), "/srv/x"), "writing /srv")
    assert (type(found), found.what, words in found.hint) == (kind, "Writing /srv failed", True), found.hint
    assert ("dmesg" in found.hint) == (number in {errno.EIO, errno.EROFS})


@pytest.mark.parametrize(("number", "words"), [(errno.EPERM, "chattr -ia"), (errno.EACCES, "root_squash")])
def test_root_is_not_told_to_become_root(number: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError(number, os.strerror(number))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = translate(error, "writing /srv")
    assert isinstance(found, DeniedError)
    assert (words in found.hint, "Run as root" in found.hint) == (True, False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "Run as root" in translate(error, "writing /srv").hint

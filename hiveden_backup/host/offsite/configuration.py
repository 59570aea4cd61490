"""Rclone's configuration of an offsite: the file as a person made it, or as systemd gives it, or a copy to write to."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from hiveden_backup.core.config.values import Offsite
from hiveden_backup.core.errors import ImpossibleError, StorageError
from hiveden_backup.core.offsite.layout import credential, state_folder
from hiveden_backup.host.disk.durable import make_directory, read_regular, translated, write_durably
from hiveden_backup.host.later import Later

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = Later("hashlib")

_LONGEST = 1 << 20
_TOKEN = re.compile(r"^\s*token\s*=", re.MULTILINE)


def of(offsite: Offsite, state: Path) -> tuple[str, str]:
    """Rclone's configuration, a file that it may write to where it keeps a token there; and what it says.

    systemd gives a unit the file as a credential, which nobody can write to. So one with a token is copied once,
    and anew when a person has changed it: what rclone refreshes meanwhile stays.
    """
    if offsite.rclone_config is None or offsite.is_local:
        return "", ""
    given = os.environ.get("CREDENTIALS_DIRECTORY", "")
    path = Path(given, credential(offsite.name))
    if not given or not path.is_file():
        path = Path(offsite.rclone_config)
    content = _configured(path, offsite)
    if not _TOKEN.search(content) or ":" in offsite.name:  # of a place without a name, the person's own does
        return str(path), content
    copy = state / state_folder(offsite.name) / "rclone" / "rclone.conf"
    mark, digest = copy.with_name("copied"), hashlib.sha256(content.encode()).hexdigest().encode()
    with translated(f"writing {copy}", unwritable=StorageError):
        make_directory(copy.parent)
        if not copy.is_file() or not mark.is_file() or read_regular(mark, len(digest)) != digest:
            write_durably(copy, content.encode())
            write_durably(mark, digest)
        return str(copy), content + "\n" + read_regular(copy, _LONGEST).decode("utf-8", "replace")


def _configured(path: Path, offsite: Offsite) -> str:
    try:
        return read_regular(path, _LONGEST, follow=True).decode("utf-8", "replace")
    except OSError as error:
        raise ImpossibleError(
            f"rclone's configuration of the offsite {offsite.name} cannot be read",
            f"{path}: {error.strerror or error}",
            f"Make it: rclone --config {path} config",
        ) from error

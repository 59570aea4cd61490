"""HOW-TO-RESTORE.txt in a backup directory: this version's, whoever wrote it first or has changed it since."""

import secrets
from pathlib import Path

from hiveden_backup.core.backup.how_to_restore import TEXT
from hiveden_backup.core.backup.layout import RECIPE
from hiveden_backup.host.disk.durable import UnfitFileError, read_regular, write_durably


def renew_recipe(directory: Path) -> bool:
    """Write the recipe, durably, unless it is there; whether it was another one. A link is replaced, never followed."""
    path, wanted = directory / RECIPE, TEXT.encode()
    try:
        found = read_regular(path, len(wanted))
    except (FileNotFoundError, UnfitFileError):
        found = b""
    if found != wanted:
        # others may be able to write there: a name that they cannot have put a link at
        write_durably(path, wanted, path.with_name(f".{RECIPE}.{secrets.token_hex(8)}.tmp"))
    return found != wanted

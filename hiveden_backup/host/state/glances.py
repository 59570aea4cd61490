"""What listings remember of backups: `listed/JOB.json`. It decides nothing, and may be lost at any time."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from hiveden_backup.host.disk.durable import make_directory, read_regular, write_durably

_LONGEST = 64 << 20


def glances_of(state: Path, job: str, directory: str) -> dict[str, Any]:
    """What is remembered of the job's backups in the backup directory with this id; nothing where that is damaged."""
    with suppress(OSError, ValueError, RecursionError):
        table = json.loads(read_regular(state / "listed" / f"{job}.json", _LONGEST))
        if isinstance(table, dict) and table.get("directory") == directory and isinstance(table.get("backups"), dict):
            return dict(table["backups"])
    return {}


def put_glances(state: Path, job: str, directory: str, backups: dict[str, Any]) -> None:
    """Remember this, where the state directory can be written."""
    with suppress(OSError):
        make_directory(state / "listed")
        content = json.dumps({"directory": directory, "backups": backups}, separators=(",", ":"))
        write_durably(state / "listed" / f"{job}.json", content.encode())

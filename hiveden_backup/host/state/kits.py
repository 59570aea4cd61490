"""The recovery kit that a person said lies where it belongs: what it told, so that a change of that is noticed."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from hiveden_backup.core.codec import LONGEST, Codec, RecordError
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import StorageError
from hiveden_backup.host.disk.durable import UnfitFileError, make_directory, read_regular, translated, write_durably


@dataclass(frozen=True, slots=True)
class ConfirmedKit:
    """When it was confirmed, and for what: whose keys open what is there, and the offsites with their remotes."""

    at: datetime
    recipients: tuple[str, ...]
    offsites: Mapping[str, str]


_KITS = Codec(ConfirmedKit)


def confirmed_kit(state: Path) -> ConfirmedKit | None:
    """What was confirmed last; None while nothing was, or when that cannot be read."""
    path = state / "recovery-kit.json"
    with (
        translated(f"reading {path}", unwritable=StorageError),
        suppress(FileNotFoundError, UnfitFileError, RecordError),
    ):
        return _KITS.load(read_regular(path, LONGEST))
    return None


def confirm_kit(state: Path, kit: ConfirmedKit) -> None:
    """Remember it, durably."""
    path = state / "recovery-kit.json"
    with translated(f"writing {path}", unwritable=StorageError):
        make_directory(state)
        write_durably(path, _KITS.dump(kit))

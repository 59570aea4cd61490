"""What stands in an archive's place, or a dump's, when it lies at an offsite alone.

It is for people, and for a machine that takes the backup directory over. What this host builds upon, its own journal
says: who can write to the backup directory can write a stub.
"""

from hiveden_backup.core.codec import Codec
from hiveden_backup.core.dataclass import dataclass

SUFFIX = ".offsite"
LONGEST = 64 << 10


@dataclass(frozen=True, slots=True)
class Stub:
    """A file of `bytes` with this digest, by its path relative to the job's directory; `offsites` have it, by name."""

    path: str
    bytes: int
    sha256: str
    offsites: tuple[str, ...]


STUBS = Codec(Stub)


def of(name: str) -> str:
    """What the stub of a file is called."""
    return name + SUFFIX


def stands_for(name: str) -> str:
    """The name of the file whose stub is called so; any other name itself."""
    return name.removesuffix(SUFFIX)

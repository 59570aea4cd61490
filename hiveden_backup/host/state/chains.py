"""What the state directory remembers of the backups that were made here: `signed/JOB.json`."""

from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from hiveden_backup.core.backup.chain import Chains
from hiveden_backup.core.codec import Codec, RecordError
from hiveden_backup.core.errors import StorageError
from hiveden_backup.host.disk.durable import make_directory, read_regular, translated, write_durably
from hiveden_backup.host.state.locks import ExclusiveJob

_LONGEST = 256 << 20
_CHAINS = Codec(Chains, sparse=("going", "key"))


def chains_of(state: Path, job: str) -> Chains:
    """What is remembered; nothing when the job is new. StorageError when it cannot be read."""
    path = state / "signed" / f"{job}.json"
    with translated(f"reading {path}", unwritable=StorageError), suppress(FileNotFoundError):
        try:
            return _loaded(read_regular(path, _LONGEST))
        except RecordError as error:
            raise StorageError(
                f"{path} is damaged, so it is not known which backups of {job} were made here",
                str(error),
                f"Remove it, and look at the backups that there are: hiveden-backup list --job {job}",
            ) from error
    return Chains()


@lru_cache(4)
def _loaded(content: bytes) -> Chains:
    """Chains by their content: whoever looks at all of a job's backups asks for them several times."""
    return _CHAINS.load(content)


def put_chains(state: Path, job: ExclusiveJob, chains: Chains) -> None:
    """Remember them, durably."""
    folder = state / "signed"
    with translated(f"writing which backups were made here below {folder}", unwritable=StorageError):
        make_directory(folder)
        write_durably(folder / f"{job.name}.json", _CHAINS.dump(chains))

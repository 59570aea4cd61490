"""Databases that came back, and are not what was dumped: kept beside the live ones until somebody has decided."""

import shlex
from collections.abc import Sequence

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import DifferencesError
from hiveden_backup.core.model import ArtifactType, Manifest
from hiveden_backup.core.postgres.restoring import Difference
from hiveden_backup.core.restore_record import Act, DatabaseSwap


@dataclass(frozen=True, slots=True)
class Differing:
    """A restored database, and how it differs."""

    database: DatabaseSwap
    differences: tuple[Difference, ...]


def not_replaced(manifest: Manifest, act: Act, found: Sequence[Differing]) -> DifferencesError:
    """Why nothing was replaced, and what to do now."""
    lines = []
    for each in found:
        swap = each.database
        lines.append(f"{swap.live} on {swap.server}, which is kept there as {swap.staged}:")
        lines += [f"  {difference}" for difference in each.differences]
    server = next((swap.server for swap in act.databases if act.database), "")
    return DifferencesError(
        f"Nothing was replaced, since what came back of {manifest.job}/{manifest.id} is not what was dumped",
        lines,
        "Look at what is kept; it goes when it is restored again, or with `undo_keep`. To have it in its place as it"
        f" is: {again(manifest, act.database, server)}",
    )


def beside(manifest: Manifest, database: str, server: str, name: str, found: Sequence[Difference]) -> DifferencesError:
    """The same of a new database `name`."""
    return DifferencesError(
        f"{database} of {manifest.job}/{manifest.id} is on {server} as {name}, but not as it was dumped",
        [str(each) for each in found],
        f"Look at it, and drop it when it is not wanted. To have it in the place of the live one as it is:"
        f" {again(manifest, database, server)}",
    )


def again(manifest: Manifest, database: str, server: str) -> str:
    """The command that accepts differences of a database, "" for the whole backup."""
    how = "--in-place"
    if database:
        how = f"--database {shlex.quote(database)}"
        databases = [each for each in manifest.artifacts if each.type is ArtifactType.DATABASE]
        if len([each for each in databases if each.target == database]) > 1:
            how += f" --server {shlex.quote(server)}"
    return f"hiveden-backup restore {manifest.job}/{manifest.id} {how} --accept-differences --yes"

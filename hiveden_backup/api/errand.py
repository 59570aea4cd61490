"""`python -m hiveden_backup.api.errand`: what a request needs done outside of the hardened service, by its own process.

Only the API starts it, in a transient unit: asking a server for its databases may mean to become its account for a
moment, which no process with threads may do; and directories must be seen as they are, not as the service sees them.
"""

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from hiveden_backup.core.api_places import unadoptable
from hiveden_backup.core.api_targets import Wanted
from hiveden_backup.core.errors import BackupError, UnfitError
from hiveden_backup.core.model import ArtifactType
from hiveden_backup.host.state.records import Records
from hiveden_backup.host.systemd.last_words import leave
from hiveden_backup.jobs.setup.managed import Settings, change
from hiveden_backup.jobs.setup.targets import adopt_application, adopt_database, leads_to


class Errand(StrEnum):
    """What there is to be done."""

    ADOPT = "adopt"
    CONFIGURE = "configure"


def main() -> int:
    """Do one errand; the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("what", type=Errand)
    parser.add_argument("details", type=json.loads)
    asked = parser.parse_args()
    try:
        if asked.what is Errand.ADOPT:
            _adopt(asked.config, asked.details)
        else:
            _configure(asked.config, asked.details)
    except BackupError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the journal has it from here
        leave(str(error))
        return error.exit_code
    return 0


def _adopt(config: Path, details: dict[str, Any]) -> None:
    kind = ArtifactType(details["type"])
    wanted = Wanted(kind, details["target"], tuple(details["source_dirs"]), details["container"])
    if wanted.type is ArtifactType.APPLICATION:
        leave(adopt_application(config, wanted, Path(os.environ["STATE_DIRECTORY"])))
    else:
        leave(adopt_database(config, wanted))


def _configure(config: Path, details: dict[str, Any]) -> None:
    wanted = Settings(details["directory"], details["keep_last"])
    state = Path(os.environ["STATE_DIRECTORY"])
    if wanted.directory is not None:
        real = leads_to(wanted.directory)
        own = {"directory of the configuration": os.path.realpath(config.parent), "state directory": str(state)}
        if reason := unadoptable(real, real, own):
            raise UnfitError(reason, "", "Name another directory")
    change(config, Records(state), wanted, datetime.now(UTC))


if __name__ == "__main__":
    sys.exit(main())

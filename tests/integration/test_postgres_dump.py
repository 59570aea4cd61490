"""Dumps: what they hold, what they count, and that none that failed passes for one that did not."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hiveden_backup.core.errors import BackupError, DeniedError, UnreachableError
from hiveden_backup.core.model import PostgresSource
from hiveden_backup.core.postgres import Endpoint, PgTools, application_name
from hiveden_backup.host.postgres import (
    Dump,
    Snapshot,
    decode,
    dsn_endpoint,
    dump_tool,
    dumping,
    dumping_globals,
    end_backends,
    find_tools,
    hold,
    inspect,
)
from tests.integration.test_postgres_connect import ODD_NAMES
from tests.integration.test_postgres_snapshot import waiting
from tests.support.postgres import ACCOUNT, PASSWORD, Server, dump_to

APPLICATION = "hiveden-backup test"
ROWS = 200_000  # tens of megabytes, more than all pipes on the way hold together

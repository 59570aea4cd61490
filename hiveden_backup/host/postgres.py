"""The public face of everything that speaks to PostgreSQL; the rooms behind it are `postgres_*.py`."""

from hiveden_backup.host.postgres_connect import connect, end_backends, translated, type_connection
from hiveden_backup.host.postgres_decode import decode
from hiveden_backup.host.postgres_dump import Dump, dump_command, dumping, dumping_globals, globals_command
from hiveden_backup.host.postgres_endpoint import container_endpoint, dsn_endpoint
from hiveden_backup.host.postgres_inspect import inspect, privileges, row_counts
from hiveden_backup.host.postgres_restore import restore_new
from hiveden_backup.host.postgres_scratch import drop_database, scratch_database, sweep_scratch
from hiveden_backup.host.postgres_snapshot import Snapshot, hold
from hiveden_backup.host.postgres_tools import dump_tool, find_tools, inside_tools, restore_tool

__all__ = [
    "Dump",
    "Snapshot",
    "connect",
    "container_endpoint",
    "decode",
    "drop_database",
    "dsn_endpoint",
    "dump_command",
    "dump_tool",
    "dumping",
    "dumping_globals",
    "end_backends",
    "find_tools",
    "globals_command",
    "hold",
    "inside_tools",
    "inspect",
    "privileges",
    "restore_new",
    "restore_tool",
    "row_counts",
    "scratch_database",
    "sweep_scratch",
    "translated",
    "type_connection",
]

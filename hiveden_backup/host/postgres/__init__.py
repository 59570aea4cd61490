"""PostgreSQL: servers, dumps, restores. `from hiveden_backup.host.postgres import FILE` loads FILE when it is used.

Most jobs have no database, and do without. With the first file all others come: a run holds databases while containers
are down, and must not look for code then that an upgrade has replaced meanwhile.
"""

from typing import TYPE_CHECKING

if not TYPE_CHECKING:
    from hiveden_backup.host.later import Later

    _FILES = (
        *("decode", "dump", "endpoint", "inspect", "pid_file", "restore", "scratch", "snapshot", "swap", "tools"),
        "wire",
    )
    """They import the others."""

    def __getattr__(name: str) -> Later:
        """A file of this folder that nothing has loaded yet."""
        if name.startswith("__"):
            raise AttributeError(name)
        return Later(f"{__name__}.{name}", *(f"{__name__}.{each}" for each in _FILES))

"""PostgreSQL: servers, dumps, restores. `from hiveden_backup.host.postgres import FILE` loads FILE when it is used.

Most jobs have no database, and do without.
"""

from typing import TYPE_CHECKING

if not TYPE_CHECKING:
    from hiveden_backup.host.later import Later

    def __getattr__(name: str) -> Later:
        """A file of this folder that nothing has loaded yet."""
        if name.startswith("__"):
            raise AttributeError(name)
        return Later(f"{__name__}.{name}")

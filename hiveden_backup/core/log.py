"""The one door to the log: lines of text, and events. Where it leads to is for the command line to say."""

from collections.abc import Mapping
from typing import Unpack

from hiveden_backup.core.events import Event, Facts, Kind, Level, facts_of


class Log:
    """What is done and noticed, for whoever reads the log. `facts` are what a line is about, beside its words."""

    def debug(self, message: str, **facts: Unpack[Facts]) -> None:
        """What somebody wants to know who asked for more."""
        self._say(Level.DEBUG, message, facts)

    def info(self, message: str, **facts: Unpack[Facts]) -> None:
        """What goes on."""
        self._say(Level.INFO, message, facts)

    def warning(self, message: str, **facts: Unpack[Facts]) -> None:
        """What is worth a person's attention."""
        self._say(Level.WARNING, message, facts)

    def error(self, message: str, **facts: Unpack[Facts]) -> None:
        """What went wrong."""
        self._say(Level.ERROR, message, facts)

    def event(self, event: Event) -> None:
        """Something that happened."""
        self._say(event.level, event.message, facts_of(event), event.kind)

    def _say(self, level: Level, message: str, facts: Mapping[str, object], kind: Kind | None = None) -> None:
        import structlog  # noqa: PLC0415 - slow to import, and most commands say nothing

        structlog.get_logger().log(level, message, kind=kind, **facts)


log = Log()

"""The one door to the log, for lines of text and for events. Until it is told another writer, stderr has them."""

import sys
from collections.abc import Callable
from typing import Unpack

from hiveden_backup.core.events import Entry, Event, Facts, Level
from hiveden_backup.core.shown import printable

Writer = Callable[[Entry], None]


def _plainly(entry: Entry) -> None:
    sys.stderr.write(f"{entry.message}\n")


class Log:
    """What is done and noticed, for whoever reads the log. `facts` are what a line is about, beside its words.

    A message is one line, whatever the names in it are.
    """

    def __init__(self) -> None:
        self.write: Writer = _plainly

    def debug(self, message: str, **facts: Unpack[Facts]) -> None:
        """What somebody wants to know who asked for more."""
        self.write(Entry(Level.DEBUG, printable(message), facts))

    def info(self, message: str, **facts: Unpack[Facts]) -> None:
        """What goes on."""
        self.write(Entry(Level.INFO, printable(message), facts))

    def warning(self, message: str, **facts: Unpack[Facts]) -> None:
        """What is worth a person's attention."""
        self.write(Entry(Level.WARNING, printable(message), facts))

    def error(self, message: str, **facts: Unpack[Facts]) -> None:
        """What went wrong."""
        self.write(Entry(Level.ERROR, printable(message), facts))

    def event(self, event: Event) -> None:
        """Something that happened."""
        self.write(event.entry)


log = Log()

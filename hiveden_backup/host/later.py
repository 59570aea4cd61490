"""What is slow to import, and what most commands do without. It is imported through this alone."""

import sys
from importlib import import_module

from hiveden_backup.host.signals import deferred


class Later:
    """A module in name. It is imported when something of it is first asked for, and with it the `others`."""

    def __init__(self, name: str, *others: str) -> None:
        self._names = name, *others

    def __getattr__(self, attribute: str) -> object:
        if not sys.modules.keys() >= set(self._names):
            with deferred():  # what a signal breaks off in the middle of an import cannot be imported any more
                for name in self._names:
                    import_module(name)
        return getattr(sys.modules[self._names[0]], attribute)

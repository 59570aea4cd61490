"""What is slow to import, and what most commands do without. It is imported through this alone."""

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from hiveden_backup.host.signals import deferred


class Later:
    """A module in name. It is imported when something of it is first asked for, and with it the `others`.

    It is imported `without` some that it wants, but that nothing of what is asked of it needs: it gets empty modules.
    """

    def __init__(self, name: str, *others: str, without: Collection[str] = ()) -> None:
        self._names = name, *others
        self._without = without
        self._imported = False

    def __getattr__(self, attribute: str) -> object:
        if not self._imported:
            is_known = sys.modules.keys() >= set(self._names)
            # what a signal breaks off in the middle of an import cannot be imported any more
            with deferred(), _empty(() if is_known else self._without):
                for name in self._names:
                    import_module(name)  # also of a known one: another thread may be in the middle of that
            self._imported = True
        return getattr(sys.modules[self._names[0]], attribute)


@contextmanager
def _empty(names: Collection[str]) -> Iterator[None]:
    """While the block lasts, those of these modules that were not imported are there, with nothing in them."""
    missing = [name for name in names if name not in sys.modules]
    sys.modules.update({name: ModuleType(name) for name in missing})
    try:
        yield
    finally:
        for name in missing:  # which another thread may have done
            sys.modules.pop(name, None)

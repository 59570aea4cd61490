"""What is slow to import, and what most commands do without. It is imported through this alone."""

from importlib import import_module


class Later:
    """A module in name. It is imported when something of it is first asked for, and with it the `others`."""

    def __init__(self, name: str, *others: str) -> None:
        self._names = name, *others

    def __getattr__(self, attribute: str) -> object:
        module, *_ = [import_module(name) for name in self._names]
        return getattr(module, attribute)

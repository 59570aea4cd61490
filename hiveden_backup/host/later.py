"""Libraries that are slow to import, and that most commands do without. They are imported through this alone."""

from importlib import import_module


class Later:
    """A module in name. It is imported when something of it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> object:
        return getattr(import_module(self._name), attribute)

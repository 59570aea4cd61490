"""Configuration files laid over each other: tables merge deeply, everything else (arrays too) is replaced."""

from collections.abc import Iterable, Mapping, Sequence

from hiveden_backup.core.config.keys import Key
from hiveden_backup.core.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Layer:
    """One file's content. `name` is what messages call it."""

    name: str
    table: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Overridden:
    """A value that is not in effect: `layer` says it, and `by`, a later one, says something else."""

    key: Key
    layer: str
    by: str


@dataclass(frozen=True, slots=True)
class Merged:
    """Several layers as one table, which of them each key came from, and the values that have no effect."""

    table: Mapping[str, object]
    origins: Mapping[Key, str]
    overridden: tuple[Overridden, ...] = ()

    def origin(self, key: Key) -> str:
        """The name of the layer that `key`, or else the innermost known table around it, came from."""
        while key not in self.origins:
            key = key[:-1]
        return self.origins[key]


def merge(layers: Sequence[Layer]) -> Merged:
    """Lay later layers over earlier ones. At least one is needed; what no layer has counts as the first one's.

    A value belongs to the layer that set it last, a table to the one that began it.
    """
    result: dict[str, object] = {}
    origins: dict[Key, str] = {(): layers[0].name}
    lost: list[tuple[Key, str]] = []
    for layer in layers:
        pending: list[tuple[Key, dict[str, object], Mapping[str, object]]] = [((), result, layer.table)]
        while pending:  # a stack, not a recursion: a file may nest deeper than Python likes to
            key, below, above = pending.pop()
            for name, value in above.items():
                path = (*key, name)
                old = below.get(name)
                if isinstance(value, Mapping) and isinstance(old, dict):
                    pending.append((path, old, value))
                    continue
                if name in below and old != value:
                    lost.append((path, origins[path]))
                origins[path] = layer.name
                below[name] = value
                if isinstance(value, Mapping):
                    inner: dict[str, object] = {}
                    below[name] = inner
                    pending.append((path, inner, value))
    merged = Merged(result, origins)
    return Merged(result, origins, tuple(Overridden(key, layer, merged.origin(key)) for key, layer in lost))


def overlay(table: Mapping[str, object], change: Mapping[str, object]) -> dict[str, object]:
    """`table` with `change` merged into it, as a new table."""
    return dict(merge([Layer("", table), Layer("", change)]).table)


def replace(table: Mapping[str, object], key: Iterable[str], value: object) -> dict[str, object]:
    """`table` with the value at `key` (not empty) replaced, as a new table; what stands in the way of it gives way."""
    result = overlay(table, {})
    *above, name = key
    at = result
    for part in above:
        inner = at.get(part)
        if not isinstance(inner, dict):
            inner = at[part] = {}
        at = inner
    at[name] = value
    return result


def without(table: Mapping[str, object], key: Iterable[str]) -> dict[str, object]:
    """`table` without what is at `key` (not empty), and without the tables that are empty then. KeyError."""
    name, *rest = key
    found = table[name]
    remaining = {each: value for each, value in table.items() if each != name}
    if rest:
        if not isinstance(found, Mapping):
            raise KeyError(name)
        inner = without(found, rest)
        return {each: inner if each == name else value for each, value in table.items()} if inner else remaining
    return remaining

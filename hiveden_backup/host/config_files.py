"""The configuration's files: `config.toml`, which is the person's, and `config.d/*.toml` beside it, merged over it.

`config.d/90-managed.toml` comes last whatever its name sorts like, and is the only file that is ever written here.
"""

import contextlib
import fcntl
import os
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hiveden_backup.core.config.gone import leftovers, without_leftovers
from hiveden_backup.core.config.keys import Key
from hiveden_backup.core.config.layers import Layer, Merged, merge
from hiveden_backup.core.config.parse import parse
from hiveden_backup.core.config.values import Config
from hiveden_backup.core.errors import ConfigError, Problem
from hiveden_backup.host.disk.durable import (
    UnfitFileError,
    make_directory,
    read_regular,
    translate,
    translated,
    write_durably,
)
from hiveden_backup.host.later import Later

if TYPE_CHECKING:
    import tomli_w
else:
    tomli_w = Later("tomli_w")

_DROP_INS = "config.d"
_MANAGED = "90-managed.toml"
_LONGEST = 16 << 20
MANAGED = f"{_DROP_INS}/{_MANAGED}"
"""What messages call the managed drop-in."""
_HEADER = """\
# Written by hiveden-backup (config set, schedule set and unset, the API), which replaces the whole file each time.
# It overrides config.toml and the other files in this directory. Your own settings belong in those.
"""

Change = Callable[[Mapping[str, object]], Mapping[str, object]]


def load(path: Path) -> Config:
    """The configuration that the file at `path` and the drop-ins beside it say. ConfigError with all problems."""
    merged = read(path)
    return parse(merged.table, merged.origin)


def read(path: Path) -> Merged:
    """What these files say as one table, right or wrong. ConfigError when one cannot be read, or is no TOML."""
    return merge([_current(layer) for layer in _read_layers(path)])


def outlived(path: Path) -> Collection[Key]:
    """The keys in the managed drop-in that there are no more, and that have no effect."""
    return [key for layer in _read_layers(path) if layer.name == MANAGED for key in leftovers(layer.table)]


def managed_file(path: Path) -> Path:
    """The managed drop-in that belongs to the configuration file at `path`."""
    return path.parent / MANAGED


def update_managed(path: Path, change: Change) -> Config:
    """Put what `change` makes of the managed drop-in's table in its place, and return the configuration it leads to.

    One process at a time does so. ConfigError, and nothing is written, when the result would not be valid.
    """
    with _locked(path):
        table, config = _changed(path, change)
        target = managed_file(path)
        with translated(f"writing {target}"):
            make_directory(target.parent)
            write_durably(target, (_HEADER + "\n" + to_toml(table)).encode())
    return config


def preview(path: Path, change: Change) -> Config:
    """The configuration that `update_managed` would lead to. Nothing is written."""
    return _changed(path, change)[1]


def _changed(path: Path, change: Change) -> tuple[Mapping[str, object], Config]:
    managed = Layer(MANAGED, {})
    others = []
    for layer in _read_layers(path):
        if layer.name == managed.name:
            managed = layer
        else:
            others.append(layer)
    table = change(managed.table)
    if leftovers(table).items() <= leftovers(managed.table).items():  # else it has been asked for now, and is an error
        table = without_leftovers(table)
    managed = Layer(managed.name, table)
    merged = merge([*others, managed])
    return managed.table, parse(merged.table, merged.origin)


def _current(layer: Layer) -> Layer:
    """A layer without what older versions wrote: that must not keep this one from working."""
    return Layer(layer.name, without_leftovers(layer.table)) if layer.name == MANAGED else layer


def to_toml(table: Mapping[str, object]) -> str:
    """The table as the text of a TOML file."""
    return tomli_w.dumps(table)


def value_from(text: str) -> object:
    """The TOML value that `text` is, else `text` itself."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return table["value"] if table.keys() == {"value"} else text


def _read_layers(path: Path) -> list[Layer]:
    """All files, the later ones having the last word. ConfigError with all that cannot be read or parsed."""
    read = [_read(path, path.name, "Create one: hiveden-backup init --directory DIR")]
    read += [_read(drop_in, f"{_DROP_INS}/{drop_in.name}") for drop_in in _drop_ins(path)]
    problems = [result for result in read if isinstance(result, Problem)]
    if problems:
        raise ConfigError(problems)
    return [result for result in read if isinstance(result, Layer)]


def _drop_ins(path: Path) -> list[Path]:
    """The drop-ins in name order, the managed one last; hidden files (of editors, say) are none."""
    directory = path.parent / _DROP_INS
    with translated(f"reading {directory}"):
        try:
            names = os.listdir(directory)
        except (FileNotFoundError, NotADirectoryError) as error:
            if directory.exists():
                raise ConfigError([Problem(str(directory), "", "it is not a directory")]) from error
            return []
    chosen = [name for name in names if name.endswith(".toml") and not name.startswith(".")]
    return [directory / name for name in sorted(chosen, key=lambda name: (name == _MANAGED, name))]


def _read(file: Path, name: str, hint_if_missing: str = "") -> Layer | Problem:
    with translated(f"reading {file}"):
        try:
            data = read_regular(file, _LONGEST, follow=True)
        except UnfitFileError as error:
            why = str(error.strerror)
            return Problem(str(file), "", f"{why[:1].lower()}{why[1:]}")
        except (FileNotFoundError, NotADirectoryError):
            return Problem(str(file), "", "the file does not exist", hint_if_missing)
    try:
        return Layer(name, tomllib.loads(data.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Problem(name, "", f"the file is not UTF-8 (at line {line})")
    except ValueError as error:  # tomllib's own, and int()'s about thousands of digits
        from hiveden_backup.core.config.toml_advice import advice  # noqa: PLC0415 - few files are damaged

        return Problem(name, "", f"the file is not valid TOML: {error}", advice(data.decode("utf-8-sig"), str(error)))
    except RecursionError:
        return Problem(name, "", "the file is nested too deeply")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold off others who change the configuration. The lock is the directory itself: it leaves no file behind."""
    with contextlib.ExitStack() as stack:
        try:
            descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            pass  # then the file is missing as well, which reading it says better
        except OSError as error:
            raise translate(error, f"locking {path.parent}") from error
        else:
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield

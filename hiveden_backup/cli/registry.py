"""Which commands there are. The file of one is imported when it is asked for, so that no other has to wait for it."""

import gc
import inspect
import typing
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS = (
    "list",
    "show",
    "diff",
    "find",
    "cat",
    "verify",
    "delete",
    "restore",
    "undo",
    "run",
    "check",
    "accept",
    "prune",
    "offsite",
    "recover",
    "status",
    "fleet",
    "serve",
    "init",
    "schedule",
    "config",
    "guide",
    "recovery-kit",
)
"""Each has a file of its name in `commands` (with `_` for `-`), which registers it."""

_registered: dict[str, typer.Typer] = {}


def register(name: str, callback: Callable[..., None], group: typer.Typer | None) -> None:
    """Have a function called for the command `name`: of a group, else one of COMMANDS."""
    if group is None:
        group = _registered[name] = typer.Typer(add_completion=False, rich_markup_mode=None)
    group.command(name, cls=_Command)(callback)


def group(name: str, about: str) -> typer.Typer:
    """A command that has commands."""
    _registered[name] = typer.Typer(
        name=name, help=about, cls=_Group, no_args_is_help=True, add_completion=False, rich_markup_mode=None
    )
    return _registered[name]


class _Command(TyperCommand):
    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        _spare_all(self)

    def get_help_option(self, ctx: Any) -> Any:
        return _spare(super().get_help_option(ctx), bool)


class _Group(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        _spare_all(self)

    def get_help_option(self, ctx: Any) -> Any:
        return _spare(super().get_help_option(ctx), bool)


class Commands(_Group):
    """The command line. Of its commands it knows the names alone."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name) for name in COMMANDS}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, if there is one."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        import_module(f"hiveden_backup.cli.commands.{cmd_name.replace('-', '_')}")
        gc.freeze()  # what was imported stays: a collection of garbage need not look at it each time
        gc.enable()
        return typer.main.get_command(_registered[cmd_name])


# ---- without pydantic ------------------------------------------------------------------------------------------------
# The newest typer imports it, for longer than `list` takes, to convert whatever is no flag: what was not given, too.


def _spare_all(command: Any) -> None:
    for parameter in command.params:
        _spare(parameter, _innermost(inspect.signature(command.callback).parameters[parameter.name].annotation))


def _innermost(annotation: Any) -> Any:
    """`str` for `Optional[List[str]]`."""
    inner = [each for each in typing.get_args(annotation) if each is not type(None)]
    return _innermost(inner[0]) if inner else annotation


def _spare(parameter: Any, kind: type) -> Any:
    """The parameter, which from now on takes nothing for nothing, and makes words and paths by itself."""
    if "process_value" in vars(parameter):
        return parameter
    process = parameter.process_value
    many = parameter.multiple or parameter.nargs == -1

    def processed(ctx: Any, value: Any) -> Any:
        if value in (None, ()) and (ctx.resilient_parsing or not parameter.required):  # resilient: while it is typed
            return () if many else None
        if kind not in (str, Path):
            return process(ctx, value)
        if many and value and all(isinstance(each, str) for each in value):
            return tuple(kind(each) for each in value)
        return kind(value) if isinstance(value, str) and not many else process(ctx, value)

    parameter.process_value = processed
    return parameter

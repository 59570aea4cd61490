#!/usr/bin/env python3
"""Print shell completions for hiveden-backup, generated from its commands: `completions.py bash|zsh|fish`.

The scripts hold commands and options, so that pressing Tab starts nothing. Only names of jobs and backups are asked of
the program, by its hidden command `words`.
"""

import enum
import inspect
import sys
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import typer

import hiveden_backup.cli.main  # noqa: F401 - what registers the commands
from hiveden_backup.cli.app import app

PROGRAM = "hiveden-backup"
KINDS = {"FILE": "files", "DIR": "directories", "JOB": "jobs", "BACKUP": "backups", "KEY": "keys"}
"""What a value is, by the name it has in help texts. Anything else has to be typed."""
HELP = "Show this message and exit."


@dataclass(frozen=True, slots=True)
class Value:
    """A positional argument, or what comes after an option: a kind of KINDS, a choice of words, or neither."""

    name: str
    kind: str = ""
    choice: tuple[str, ...] = ()
    many: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """An option; without a value it is a flag."""

    names: tuple[str, ...]
    help: str
    value: Value | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """What can be typed after `path`."""

    path: tuple[str, ...]
    help: str
    options: tuple[Option, ...]
    arguments: tuple[Value, ...] = ()
    commands: tuple["Command", ...] = ()

    def all(self) -> Iterator["Command"]:
        """This one and all below it."""
        yield self
        for each in self.commands:
            yield from each.all()


# ---- reading the commands --------------------------------------------------------------------------------------------


def read_group(group: typer.Typer, path: tuple[str, ...] = ()) -> Command:
    """What is registered in a typer application: that is alike in all versions, what typer makes of it is not."""
    callback = group.registered_callback
    options, arguments = read_parameters(callback.callback if callback else None)
    commands = [
        read_group(each.typer_instance, (*path, str(each.typer_instance.info.name)))
        for each in group.registered_groups
        if each.typer_instance
    ]
    for each in group.registered_commands:
        if not each.hidden:
            own, arguments = read_parameters(each.callback)
            help_text = (inspect.getdoc(each.callback) or "").partition("\n")[0]
            commands.append(Command((*path, str(each.name)), help_text, own, arguments))
    return Command(path, str(group.info.help), options, (), tuple(sorted(commands, key=lambda command: command.path)))


def read_parameters(callback: object) -> tuple[tuple[Option, ...], tuple[Value, ...]]:
    """The options and the arguments of a command's function."""
    options = [Option(("-h", "--help"), HELP)]
    arguments = []
    parameters = inspect.signature(callback).parameters if callable(callback) else {}
    for parameter in parameters.values():
        about = parameter.default
        if not isinstance(about, typer.models.ParameterInfo):
            raise TypeError(f"{parameter} of {callback} is no parameter of typer's")
        many, annotation = innermost(parameter.annotation)
        choice = tuple(str(each.value) for each in annotation) if issubclass(annotation, enum.Enum) else ()
        name = about.metavar or parameter.name.upper().removesuffix("S" if many else "")
        value = Value(name, KINDS.get(name, ""), choice, many)
        if isinstance(about, typer.models.ArgumentInfo):
            arguments.append(value)
        else:
            names = tuple(about.param_decls or ())
            options.append(Option(names, about.help or "", None if annotation is bool else value))
    return tuple(options), tuple(arguments)


def innermost(annotation: object) -> tuple[bool, type]:
    """Whether there may be several, and the type of one: `(True, str)` for `Optional[List[str]]`."""
    inner = [each for each in typing.get_args(annotation) if each is not type(None)]
    if not inner:
        return False, typing.cast("type", annotation)
    many, found = innermost(inner[0])
    return many or typing.get_origin(annotation) is list, found


# ---- bash ------------------------------------------------------------------------------------------------------------

BASH = r"""# bash completion for hiveden-backup, generated from its commands
_hiveden_backup() {
    local current="${COMP_WORDS[COMP_CWORD]}" command="" word option="" kind="" given=0
    local commands="" options="" arguments=() config=()
    _hiveden_backup_command ""
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ -n $option ]]; then
            [[ $option != --config ]] || config=(--config "$word")
            option=""
        elif [[ $word == -* ]]; then
            ! _hiveden_backup_value "$command $word" || option="$word"
        elif [[ " $commands " == *" $word "* ]]; then
            command="${command:+$command }$word"
            _hiveden_backup_command "$command"
        else
            given=$((given + 1))
        fi
    done
    COMPREPLY=()
    if [[ -n $option ]]; then
        _hiveden_backup_value "$command $option"
    elif [[ $current == -* ]]; then
        kind="=$options"
    elif [[ -n $commands ]]; then
        kind="=$commands"
    elif [[ ${#arguments[@]} -gt 0 ]]; then
        [[ $given -lt ${#arguments[@]} || ${arguments[-1]} != *+ ]] || given=$((${#arguments[@]} - 1))
        kind="${arguments[given]-}"
    fi
    case "${kind%+}" in
    files) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    directories) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
    jobs | backups | keys)
        mapfile -t COMPREPLY < <(
            compgen -W "$("${COMP_WORDS[0]}" "${config[@]}" words "${kind%+}" 2>/dev/null)" -- "$current"
        )
        ;;
    =*) mapfile -t COMPREPLY < <(compgen -W "${kind#=}" -- "$current") ;;
    esac
}

# COMMAND: what can follow it
_hiveden_backup_command() {
    commands="" options="" arguments=()
    case "$1" in
@COMMANDS@
    esac
}

# COMMAND OPTION: whether it takes a value, and which kind of
_hiveden_backup_value() {
    case "$1" in
@VALUES@
    *) return 1 ;;
    esac
}

complete -F _hiveden_backup hiveden-backup
"""


def bash(top: Command) -> str:
    """A script for /usr/share/bash-completion/completions/hiveden-backup."""
    commands, values = [], []
    for each in top.all():
        below = " ".join(command.path[-1] for command in each.commands)
        options = " ".join(name for option in each.options for name in option.names)
        arguments = " ".join(f"'{bash_kind(value)}'" for value in each.arguments)
        commands.append(
            f"    '{' '.join(each.path)}') commands='{below}' options='{options}' arguments=({arguments}) ;;"
        )
        values += [
            f"    '{' '.join(each.path)} {name}') kind='{bash_kind(option.value)}' ;;"
            for option in each.options
            if option.value
            for name in option.names
        ]
    return BASH.replace("@COMMANDS@", "\n".join(commands)).replace("@VALUES@", "\n".join(values))


def bash_kind(value: Value) -> str:
    """A kind for the script: words after a `=`, and a `+` for more of the same."""
    kind = f"={' '.join(value.choice)}" if value.choice else value.kind
    return f"{kind}+" if value.many and kind else kind


# ---- zsh -------------------------------------------------------------------------------------------------------------

ZSH = r"""#compdef hiveden-backup
# zsh completion for hiveden-backup, generated from its commands

# ARGUMENTS OF compadd... KIND
_hiveden_backup_words() {
    local -a found
    found=(${(f)"$(_call_program words hiveden-backup "${(@q)config}" words $argv[-1])"})
    compadd "${(@)argv[1,-2]}" -a found
}

"""


def zsh(top: Command) -> str:
    """A script for /usr/share/zsh/vendor-completions/_hiveden-backup."""
    return ZSH + "\n".join(zsh_function(each) for each in reversed(list(top.all()))) + '\n_hiveden_backup "$@"\n'


def zsh_function(command: Command) -> str:
    """A function that completes what follows one command."""
    specs = [spec for option in command.options for spec in zsh_option(option)]
    lines = [f"{zsh_name(command)}() {{"]
    if command.commands:
        specs += ["1:command:->command", "*::argument:->argument"]
        lines += [
            "    local curcontext=$curcontext context state line",
            "    local -A opt_args",
            "    local -a commands",
        ]
        if not command.path:  # what is asked of the program, is asked of the same configuration
            lines += [
                "    local -a config",
                "    (( ${words[(I)--config]} )) && config=(--config ${words[${words[(I)--config]}+1]})",
            ]
        described = [zsh_quoted(f"{each.path[-1]}:{each.help}") for each in command.commands]
        lines += ["    commands=(", *(f"        {each}" for each in described), "    )"]
    else:
        specs += [
            f"{'*' if each.many else number}:{each.name}:{zsh_action(each)}"
            for number, each in enumerate(command.arguments, 1)
        ]
    lines += ["    _arguments -C -s \\", *(f"        {zsh_quoted(spec)} \\" for spec in specs)]
    lines[-1] = lines[-1].removesuffix(" \\")
    if command.commands:
        lines += ["    case $state in", "        command) _describe command commands ;;", "        argument)"]
        lines += ["            case $words[1] in"]
        lines += [f"                {each.path[-1]}) {zsh_name(each)} ;;" for each in command.commands]
        lines += ["            esac", "            ;;", "    esac"]
    return "\n".join([*lines, "}", ""])


def zsh_name(command: Command) -> str:
    """The function for one command."""
    return "_".join(["_hiveden_backup", *command.path])


def zsh_option(option: Option) -> Iterator[str]:
    """What _arguments wants to know of an option."""
    text = option.help.replace("[", r"\[").replace("]", r"\]").replace(":", r"\:")
    value = f":{option.value.name}:{zsh_action(option.value)}" if option.value else ""
    for name in option.names:
        others = f"({' '.join(option.names)})" if not (option.value and option.value.many) else "*"
        yield f"{others}{name}[{text}]{value}"


def zsh_action(value: Value) -> str:
    """How _arguments completes a value."""
    if value.choice:
        return f"({' '.join(value.choice)})"
    return {"files": "_files", "directories": "_directories", "": " "}.get(
        value.kind, f"_hiveden_backup_words {value.kind}"
    )


def zsh_quoted(text: str) -> str:
    """A word of zsh."""
    return "'" + text.replace("'", r"'\''") + "'"


# ---- fish ------------------------------------------------------------------------------------------------------------

FISH = r"""# fish completion for hiveden-backup, generated from its commands

# Prints the command so far, such as "config set"
function __hiveden_backup_command
    set -l command
    set -l skip
    for word in (commandline -opc)[2..]
        if set -q skip[1]
            set -e skip
        else if string match -q -- '--config' $word
            set skip 1
        else if not string match -q -- '-*' $word; and contains -- (string join ' ' $command $word) @PATHS@
            set -a command $word
        end
    end
    string join ' ' $command
end

function __hiveden_backup_at
    test (__hiveden_backup_command | string collect --allow-empty) = "$argv"
end

function __hiveden_backup_words
    set -l words (commandline -opc)
    set -l config
    if set -l at (contains -i -- --config $words); and set -q words[(math $at + 1)]
        set config --config $words[(math $at + 1)]
    end
    hiveden-backup $config words $argv 2>/dev/null
end

complete -c hiveden-backup -f
"""


def fish(top: Command) -> str:
    """A script for /usr/share/fish/vendor_completions.d/hiveden-backup.fish."""
    paths = " ".join(fish_quoted(" ".join(each.path)) for each in top.all() if each.path)
    lines = []
    for each in top.all():
        condition = " ".join(["__hiveden_backup_at", *each.path])
        at = f"complete -c {PROGRAM} -n {fish_quoted(condition)}"
        lines += [f"{at} -a {command.path[-1]} -d {fish_quoted(command.help)}" for command in each.commands]
        lines += [f"{at}{fish_option(option)}" for option in each.options]
        lines += [f"{at}{action}" for action in dict.fromkeys(fish_action(value) for value in each.arguments) if action]
    return FISH.replace("@PATHS@", paths) + "\n".join(lines) + "\n"


def fish_option(option: Option) -> str:
    """The arguments of `complete` for an option."""
    names = "".join(f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}" for name in option.names)
    return f"{names}{' -r' + fish_action(option.value) if option.value else ''} -d {fish_quoted(option.help)}"


def fish_action(value: Value) -> str:
    """The arguments of `complete` for a value."""
    if value.choice:
        return f" -a {fish_quoted(' '.join(value.choice))}"
    return {
        "files": " -F",
        "directories": " -a '(__fish_complete_directories)'",
        "": "",
    }.get(value.kind, f" -a '(__hiveden_backup_words {value.kind})'")


def fish_quoted(text: str) -> str:
    """A word of fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", r"\'") + "'"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}


def main(arguments: Sequence[str]) -> int:
    """Print the script of one shell."""
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        print(f"usage: completions.py {'|'.join(SHELLS)}", file=sys.stderr)
        return 2
    print(SHELLS[arguments[0]](read_group(app)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

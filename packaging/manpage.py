#!/usr/bin/env python3
"""Print the manual page of hiveden-backup, generated from its commands."""

import sys
from collections.abc import Iterator

from completions import Command, Option, read_group

from hiveden_backup import __version__
from hiveden_backup.cli.app import app

FILES = {
    "/etc/hiveden-backup/config.toml": "The configuration. Your own; the program never changes it.",
    "/etc/hiveden-backup/config.d/*.toml": "Merged over it, in the order of their names.",
    "/var/lib/hiveden-backup": "Locks, notes about stopped containers, and the records of runs.",
    "/usr/share/doc/hiveden-backup": "The README with everything else, and an example configuration.",
}


def page(top: Command) -> Iterator[str]:
    """The lines of the page."""
    yield f'.TH HIVEDEN\\-BACKUP 8 "" "hiveden\\-backup {__version__}" "System administration"'
    yield from (".SH NAME", f"hiveden\\-backup \\- {plain(top.help).rstrip('.')}")
    yield from (".SH SYNOPSIS", ".B hiveden\\-backup", "[OPTIONS] COMMAND [ARGUMENTS]")
    yield ".SH OPTIONS"
    for option in top.options:
        yield from described(option)
    yield ".SH COMMANDS"
    for command in top.all():
        if command.path and not command.commands:
            arguments = " ".join(f"[{value.name}]..." if value.many else value.name for value in command.arguments)
            yield from (f".SS {plain(' '.join(command.path))} {plain(arguments)}".rstrip(), plain(command.help))
            for option in command.options:
                if "--help" not in option.names:
                    yield from described(option)
    yield ".SH FILES"
    for path, text in FILES.items():
        yield from (".TP", f".I {plain(path)}", plain(text))
    yield from (".SH SEE ALSO", ".BR systemd.time (7),", ".BR journalctl (1)")


def described(option: Option) -> Iterator[str]:
    """An option in a list of them."""
    value = f" \\fI{plain(option.value.name)}\\fR" if option.value else ""
    yield from (".TP", ", ".join(f"\\fB{plain(name)}\\fR" for name in option.names) + value, plain(option.help))


def plain(text: str) -> str:
    """A text that troff prints as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in page(read_group(app)))

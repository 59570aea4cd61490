"""What every request needs around it. Nothing is kept between requests: the configuration is read anew for each."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fastapi import Request

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.host.systemd.last_words import LastWords
from hiveden_backup.jobs.installation import Installation


@dataclass(frozen=True, slots=True)
class Launcher:
    """How the installation that the API speaks for is asked to act, in units beside this service.

    `runtime` is where the units of jobs look for what they are told. `program` and `environment` are for commands in
    units of their own.
    """

    known: Installation
    runtime: Path | None
    program: tuple[str, ...]
    environment: Mapping[str, str]

    @property
    def installation(self) -> Installation:
        """The installation as it is now, whatever was read of it before."""
        return self.known.anew()

    @property
    def last_words(self) -> LastWords:
        """How what requests started ended."""
        return LastWords(self.known.state / "requests")

    def command(self, arguments: Sequence[str], *, module: str = "") -> list[str]:
        """A command line of the program, or of a module of ours beside it."""
        begin = [sys.executable, "-P", "-m", module] if module else self.program
        return [*begin, "--config", str(self.known.config_file), *arguments]


def launcher_of(request: Request) -> Launcher:
    """For endpoints that act to depend on."""
    launcher: Launcher = request.app.state.launcher
    return launcher


def installation_of(request: Request) -> Installation:
    """For endpoints that look to depend on: one request sees one configuration."""
    return launcher_of(request).installation

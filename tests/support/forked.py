"""The program without its start, which costs more than most of what tests have it do: forked off the test's process.

It is a process of its own, whose `main` finds everything imported. Where that could hide something, tests start the
program as people do: those in e2e do nothing else.
"""

import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, NoReturn

from hiveden_backup.host import failpoints

_DEADLY = ("kill", "hold")


def call(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    cwd: Path,
    seconds: float,
    before: Callable[[], None] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run `hiveden-backup ARGUMENTS` to its end. subprocess.TimeoutExpired when that takes longer than `seconds`.

    `before` is called in its process before it begins; it is forked then, even where it is to be killed.
    """
    command = [sys.executable, "-m", "hiveden_backup", *arguments]
    if before is None and environment.get(failpoints.VARIABLE, "").endswith(_DEADLY):
        return subprocess.run(
            command,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    _import_all()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the forking of a process with threads: no lock of theirs is needed
            child = os.fork()
        if not child:
            _become(arguments, environment, cwd, out, err, before)
        status = _end_of(child, seconds)
        if status is None:
            raise subprocess.TimeoutExpired(command, seconds)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, status, out.read(), err.read())


def _import_typer() -> None:
    """As `main` has it, which hides rich from it; the tests' own tools want that."""
    rich = sys.modules.get("rich")
    sys.modules["rich"] = None  # type: ignore[assignment] # "not there"
    import_module("typer")
    del sys.modules["rich"]
    if rich is not None:
        sys.modules["rich"] = rich


_import_typer()


@cache
def _import_all() -> None:
    """All but what a command imports for itself, and the API."""
    for floor in ("core", "host", "jobs"):
        package = import_module(f"hiveden_backup.{floor}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            import_module(module.name)


def _end_of(child: int, seconds: float) -> int | None:
    """Its exit status; None when it had to be killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _become(  # noqa: PLR0917 - called once
    arguments: Sequence[str],
    environment: Mapping[str, str],
    cwd: Path,
    out: IO[str],
    err: IO[str],
    before: Callable[[], None] | None,
) -> NoReturn:
    """Be the program: of what pytest and the test have set, nothing is left."""
    code: int | str | None = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        streams = (os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", errors="backslashreplace"))  # kept open by this
        sys.stdin, sys.stdout, sys.stderr = streams
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(cwd)
        time.tzset()
        tempfile.tempdir = None
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
        sys.unraisablehook, threading.excepthook = sys.__unraisablehook__, threading.__excepthook__
        signal.signal(signal.SIGINT, signal.default_int_handler)
        failpoints._passed.clear()
        sys.argv = ["hiveden-backup", *arguments]
        if before is not None:
            before()
        try:
            import_module("hiveden_backup.cli.main").main()
            code = 0
        except SystemExit as ended:
            code = ended.code
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)

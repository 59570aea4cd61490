"""What a person sees: colours and progress on a terminal, plain lines elsewhere, and results apart from the log."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Program:
    """The program with a backup directory, a state directory and one job of files."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.config = place / "etc/config.toml"
        self.data = place / "data"
        self.data.mkdir()
        (self.data / "file").write_text("content")
        assert self.call("init", "--directory", str(place / "backups")).returncode == 0
        with self.config.open("a") as file:
            file.write(f'\n[jobs.one]\npaths = ["{self.data}"]\n')

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "hiveden_backup", "--config", str(self.config), *arguments]

    @property
    def environment(self) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "JOURNAL_STREAM")}
        plain["PATH"] = f"{self.place}/bin:{plain['PATH']}"
        return {**plain, "STATE_DIRECTORY": str(self.place / "state"), "PYTHONPATH": str(ROOT), "TERM": "xterm"}

    def call(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, check=False
        )

    def on_terminal(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        """All that appears on a terminal."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            self.command(*arguments), env={**self.environment, **(environment or {})}, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        shown = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # the terminal is gone with its last user
                break
            shown += piece
        os.close(ours)
        assert process.wait(60) == 0
        return shown.decode()


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def test_results_go_to_stdout_and_the_log_to_stderr(program: Program) -> None:
    done = program.call("run", "one")
    assert re.fullmatch(r"\d{8}T\d{6}Z\n", done.stdout)
    lines = done.stderr.splitlines()
    assert lines[0].startswith("one: ")
    assert re.fullmatch(r"one: Finished backup \d{8}T\d{6}Z \(.*B, .* s\)", lines[-1])


def slow_phase(program: Program) -> None:
    """Let the hot pass take longer than the second after which progress is shown: its compressor thinks for a while."""
    (program.data / "large").write_bytes(os.urandom(4 << 20))
    slow = program.place / "bin/zstd"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\ncase "$*" in *-dc*) ;; *) sleep 1.2 ;; esac\nexec {shutil.which("zstd")} "$@"\n')
    slow.chmod(0o755)


def test_without_a_terminal_there_is_neither_colour_nor_progress(program: Program) -> None:
    slow_phase(program)
    done = program.call("run", "one")
    assert "\x1b" not in done.stderr + done.stdout
    assert "\r" not in done.stderr


def test_on_a_terminal_a_long_phase_shows_bytes_and_rate_and_takes_its_line_away(program: Program) -> None:
    slow_phase(program)
    shown = program.on_terminal("run", "one")
    assert re.search(r"hot pass  [\d.]+ [KM]iB  [\d.]+ [KM]iB/s", shown)
    last = shown.split("hot pass")[-1]
    assert "\r\x1b[2K" in last  # the line is cleared before anything follows
    assert re.search(r"Finished backup .*MiB", last)


def test_no_color_is_honoured(program: Program) -> None:
    program.call("run", "one")
    assert "\x1b[" in program.on_terminal("list")
    assert "\x1b[" not in program.on_terminal("list", environment={"NO_COLOR": "1"})


def test_quiet_says_only_what_went_wrong(program: Program) -> None:
    done = program.call("--quiet", "run", "one")
    assert done.stderr == ""
    failed = program.call("--quiet", "run", "two")
    assert failed.returncode == 66
    assert failed.stderr.startswith("error: There is no job two")


def test_an_error_is_text_and_a_traceback_only_on_request(program: Program) -> None:
    plain = program.call("show", "one/latest")
    assert plain.returncode == 66
    assert plain.stderr == "error: There is no backup one/latest. See what there is: hiveden-backup list\n"
    verbose = program.call("--verbose", "show", "one/latest")
    assert "Traceback" in verbose.stderr
    assert verbose.returncode == 66


def test_a_file_name_cannot_drive_the_terminal(program: Program) -> None:
    (program.data / "evil\x1b[31mred\nline").write_text("x")
    program.call("run", "one")
    shown = program.call("show", "one/latest", "--files").stdout
    assert "\x1b" not in shown
    assert r"evil\x1b[31mred\nline" in shown
    as_json = json.loads(program.call("show", "one/latest", "--files", "--json").stdout)
    assert f"{program.data}/evil\x1b[31mred\nline" in as_json


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "one", "--all"),
        ("restore", "one/latest"),
        ("restore", "one/latest", "--to", "x", "--database", "y"),
        ("verify",),
        ("delete", "one/latest"),
        ("frobnicate",),
        ("list", "--type", "nonsense"),
    ],
)
def test_a_senseless_command_line_ends_with_2(program: Program, arguments: Sequence[str]) -> None:
    program.call("run", "one")
    done = program.call(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr


def test_every_command_has_a_help_text(program: Program) -> None:
    commands = re.findall(r"^  ([a-z]+) ", program.call("--help").stdout.partition("Commands:")[2], re.MULTILINE)
    assert {"init", "check", "run", "list", "show", "diff", "restore", "verify", "prune", "delete"} <= set(commands)
    for command in commands:
        done = program.call(command, "--help")
        assert done.returncode == 0
        assert "Usage:" in done.stdout


def test_a_defect_is_told_without_a_traceback(program: Program) -> None:
    script = (
        "import sys; import hiveden_backup.cli.surroundings as surroundings; import hiveden_backup.cli.main as main\n"
        "def broken(): raise ZeroDivisionError('broken')\n"
        "surroundings.installation = broken\n"
        "sys.argv = ['hiveden-backup', 'list']; main.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=program.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "hiveden-backup has a defect: ZeroDivisionError: broken" in done.stderr
    assert "Traceback" not in done.stderr

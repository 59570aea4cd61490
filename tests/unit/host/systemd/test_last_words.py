"""What a command leaves for whoever started it, and what systemd notes when it has ended."""

import os
import subprocess
from pathlib import Path

import pytest

from hiveden_backup.host.systemd.last_words import Ended, LastWords, leave

RUN = "verify-0123456789ab"


@pytest.fixture
def ends(tmp_path: Path) -> LastWords:
    made = LastWords(tmp_path / "state/requests")
    made.make_room()
    return made


def said(ends: LastWords, words: str, run: str = RUN) -> None:
    """A command of the run says something last."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ends.environment(run).items():
            patch.setenv(name, value)
        leave(words)


def noted(ends: LastWords, result: str, code: str, status: str, *afterwards: str, run: str = RUN) -> int:
    """Systemd runs what belongs after the end; the status of that."""
    told = {"SERVICE_RESULT": result, "EXIT_CODE": code, "EXIT_STATUS": status}
    environment = {"PATH": os.environ["PATH"], **{name: value for name, value in told.items() if value}}
    return subprocess.run(ends.note(run, afterwards), env=environment, check=False).returncode


def test_an_end_has_its_status_and_the_latest_words(ends: LastWords) -> None:
    said(ends, "one")
    said(ends, "two\u2028three\nfour \udcff")
    noted(ends, "exit-code", "exited", "65")
    assert ends.ended(RUN) == Ended(65, "exit-code", "two\u2028three\nfour \\udcff")


@pytest.mark.parametrize(
    ("result", "code", "status", "number"),
    [
        ("success", "exited", "0", 0),
        ("exit-code", "exited", "203", 203),
        ("signal", "killed", "KILL", 128 + 9),
        ("core-dump", "dumped", "SEGV", 128 + 11),
        ("oom-kill", "killed", "KILL", 128 + 9),
        ("signal", "killed", "RTMIN+3", 1),
        ("resources", "", "", 1),
    ],
)
def test_a_command_that_left_no_words(ends: LastWords, result: str, code: str, status: str, number: int) -> None:
    noted(ends, result, code, status)
    assert ends.ended(RUN) == Ended(number, result, "")


def test_nothing_tells_of_a_run_that_never_was(ends: LastWords) -> None:
    assert ends.ended(RUN) is None
    said(ends, "words without an end")
    assert ends.ended(RUN) is None


def test_what_comes_afterwards_is_run_and_may_fail(ends: LastWords, tmp_path: Path) -> None:
    mark = tmp_path / "a mark"
    assert noted(ends, "success", "exited", "0", "touch", str(mark)) == 0
    assert mark.exists()
    assert ends.ended(RUN) == Ended(0, "success", "")
    assert noted(ends, "success", "exited", "0", "sh", "-c", "exit 7") == 1
    assert ends.ended(RUN) == Ended(1, "success", "")
    ends.directory.joinpath(f"{RUN}.end").unlink()
    ends.directory.rmdir()
    mark.unlink()
    assert noted(ends, "success", "exited", "0", "touch", str(mark)) == 0
    assert mark.exists()


def test_words_are_bounded_and_private(ends: LastWords) -> None:
    said(ends, "x" * 1_000_000)
    noted(ends, "success", "exited", "0")
    found = ends.ended(RUN)
    assert found is not None
    assert found.words == "x" * 65536
    assert {file.stat().st_mode & 0o077 for file in (ends.directory, *ends.directory.glob("*.words"))} == {0}


def test_words_that_cannot_be_left_are_no_error(ends: LastWords, monkeypatch: pytest.MonkeyPatch) -> None:
    leave("nobody asked")
    for name, value in ends.environment(RUN).items():
        monkeypatch.setenv(name, value)
    ends.directory.rmdir()
    leave("nowhere to go")


def test_a_link_or_a_fifo_is_not_read(ends: LastWords, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a b c d")
    (ends.directory / f"{RUN}.end").symlink_to(tmp_path / "secret")
    assert ends.ended(RUN) is None
    os.mkfifo(ends.directory / "delete-0123456789ab.end")
    assert ends.ended("delete-0123456789ab") is None


def test_the_oldest_make_room(ends: LastWords) -> None:
    for number in range(450):
        file = ends.directory / f"verify-{number:012x}.end"
        file.write_text("SERVICE_RESULT=success\nEXIT_CODE=exited\nEXIT_STATUS=0\n")
        os.utime(file, (number, number))
    ends.make_room()
    assert len(list(ends.directory.iterdir())) == 400
    assert ends.ended(f"verify-{49:012x}") is None
    assert ends.ended(f"verify-{50:012x}") == Ended(0, "success", "")

"""What a person sees of a text of others: one line, and nothing that a terminal would do something about."""

import pytest

from hiveden_backup.core.errors import BackupError, ConfigError, DifferencesError, ObstaclesError, Problem
from hiveden_backup.core.events import Entry, Failed, Unusual
from hiveden_backup.core.shown import printable, printable_lines
from hiveden_backup.host.log import log

ODD = "\x1b]0;x\x07\x9b2J\x7f\r\n\u2028\u2029\x85\u202e\u2066\udcff\u200b"


def test_nothing_odd_is_left() -> None:
    assert printable(ODD).isprintable()
    assert printable(ODD) == r"\x1b]0;x\x07\x9b2J\x7f\r\n\u2028\u2029\x85\u202e\u2066\udcff\u200b"


@pytest.mark.parametrize("text", ["", "a b", "Grüße, 日本", "C:\\x1b", "e\u0301"])
def test_what_is_printable_stays(text: str) -> None:
    assert printable(text) == printable(printable(text)) == text


def test_own_lines_stand_where_they_may() -> None:
    assert printable_lines("one\ntwo\u2028") == "one\ntwo\\u2028"


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (BackupError(ODD, ODD, ODD), 1),
        (ObstaclesError("Two", [BackupError(ODD), BackupError("b", ODD)]), 3),
        (ConfigError([Problem(ODD, ODD, ODD, ODD), Problem("", "", ODD)]), 3),
        (DifferencesError("It differs", [ODD, ODD], "Look"), 4),
    ],
)
def test_an_error_has_no_other_lines_than_its_own(error: BackupError, lines: int) -> None:
    told = str(error).split("\n")
    assert len(told) == lines
    assert all(line.isprintable() for line in told)
    assert Failed(str(error), 1).message == str(error)


def test_a_line_of_the_log_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    entries: list[Entry] = []
    monkeypatch.setattr(log, "write", entries.append)
    for say in (log.debug, log.info, log.warning, log.error):
        say(f"a name\nerror: all is lost {ODD}")
    log.event(Unusual("job", "id", f"a name\nerror: all is lost {ODD}"))
    assert len(entries) == 5
    assert all(entry.message.isprintable() for entry in entries)

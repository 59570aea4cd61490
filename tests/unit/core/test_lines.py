r"""Lines end at \n: whatever else a name or a message has in it stays in its line."""

import pytest

from hiveden_backup.core.backup.creation import classify
from hiveden_backup.core.lines import split_lines
from hiveden_backup.host.process import Completed, ProcessError

OTHERS = ("\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")


@pytest.mark.parametrize("other", OTHERS)
def test_no_other_character_ends_a_line(other: str) -> None:
    assert split_lines(f"a{other}b\nc{other}\n") == [f"a{other}b", f"c{other}"]


@pytest.mark.parametrize("text", ["", "\n", "a", "a\n", "a\n\n", "a\nb", "\n\na\n"])
def test_otherwise_they_are_as_python_has_them(text: str) -> None:
    assert split_lines(text) == text.splitlines()


@pytest.mark.parametrize("other", OTHERS)
def test_an_error_of_a_program_is_told_whole(other: str) -> None:
    said = f"cannot read a{other}b: no such file"
    assert ProcessError(Completed("x", 1, b"", f"{said}\n".encode())).why == said


@pytest.mark.parametrize("other", OTHERS)
def test_a_message_of_tar_stays_one(other: str) -> None:
    told = f"a{other}b: file changed as we read it"
    assert classify(f"tar: {told}\n", 1, ()).changed == (told,)

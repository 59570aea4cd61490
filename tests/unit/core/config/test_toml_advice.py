"""Where a file is no TOML, the hint says what the common slips are."""

import tomllib

import pytest

from hiveden_backup.core.config.toml_advice import advice


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (r'directory = "C:\Users\anna"', r"a \ begins an escape"),
        (r'exclude = ["a\*"]', r"a \ begins an escape"),
        ('directory = "/srv/backups', "A quotation mark is missing"),
        ("directory = '/srv/backups", "quotation mark is missing"),
        ("directory = /srv/backups", "Text needs quotation marks"),
        ("directory = ~/backups", "Text needs quotation marks"),
        ("schedule = daily", "Text needs quotation marks"),
        ("paths = [/srv/a]", "Text needs quotation marks"),
        ("directory = “/srv/backups”", "straight quotation marks"),
        ('directory: "/srv/backups"', "Write = between"),
        ('paths = ["/a"', "is missing"),
        ('x = """a', "is missing"),
    ],
)
def test_a_slip(line: str, words: str) -> None:
    text = f"# first\n{line}\n"
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads(text)
    assert words in advice(text, str(caught.value)), caught.value


def test_nothing_is_known_better() -> None:
    assert not advice("a = 1\na = 2\n", "Cannot overwrite a value (at line 2, column 6)")

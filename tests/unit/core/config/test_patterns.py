"""Which patterns of `exclude` cannot mean anything, and which odd ones can."""

import json
import tomllib

import pytest

from hiveden_backup.core.config.parse import parse
from hiveden_backup.core.errors import ConfigError

ANYWHERE = "A pattern without a leading / is found at any depth; one for a single place begins with /."
GLOBS = "Here all patterns are globs: *, ?, ** and [a-z]. For a name that really begins so, write"
BOTH = "Remove one of the two, or leave out something below it."

EVERYTHING = ("*", "**", "?*", "*?", "**/?*", "*/*", "/**")

EXCLUDES = [
    ("./x", f'"./x" is meant from a directory, but there is none that it could begin in. {ANYWHERE}'),
    (".", f'"." is meant from a directory, but there is none that it could begin in. {ANYWHERE}'),
    ("../x", '"../x" goes up by .., which no path of a backup does. Write the whole path, from / on.'),
    ("/a/../b", '"/a/../b" goes up by .., which no path of a backup does. Write the whole path, from / on.'),
    ("/a/./b", '"/a/./b" has a . between slashes, which no path of a backup has. Write "/a/b".'),
    (
        "~/x/y",
        '"~/x/y" begins with ~, which only a shell takes for a home directory. Write it out, such as "/home/anna/x/y".',
    ),
    *(
        (
            pattern,
            (
                f'"{pattern}" names a variable, which only a shell knows. '
                "Write its value; for a name that really has it, [$] stands for a $."
            ),
        )
        for pattern in ("$HOME/x", "${HOME}/x", "/srv/$USER/x", "/srv/x-${USER}", "$HOME")
    ),
    (
        "*.{log,tmp}",
        (
            '"*.{log,tmp}" has alternatives in braces, which only a shell knows. Write one pattern for each: '
            '"*.log", "*.tmp"; for a name that really has it, [{] stands for a brace.'
        ),
    ),
    (
        "day{1..9}",
        (
            '"day{1..9}" has alternatives in braces, which only a shell knows. Write one pattern for each; '
            "for a name that really has it, [{] stands for a brace."
        ),
    ),
    ("re:^x", f'"re:^x" begins with "re:", which other programs know. {GLOBS} "**/re:^x".'),
    ("- *.tmp", f'"- *.tmp" begins with "- ", which other programs know. {GLOBS} "**/- *.tmp".'),
    (
        "!keep",
        (
            '"!keep" would bring something back, which exclude cannot. Let the other patterns leave it: [!x]* is all '
            'that does not begin with x. For a name that really begins so, write "**/!keep".'
        ),
    ),
    (
        "# comment",
        (
            '"# comment" is a comment inside of a string. Put # before the quotation mark. '
            'For a name that really begins so, write "**/# comment".'
        ),
    ),
    *(
        (
            pattern,
            f'"{pattern}" begins or ends with a blank. Write "x y"; for a name that really has it, [ ] stands for it.',
        )
        for pattern in (" x y", "x y ")
    ),
    *(
        (pattern, f'"{pattern}" excludes everything. Remove it.')
        for pattern in ("*", "**", "?*", "*?", "**/?*", "*/*", "/**")
    ),
    ("/srv/immich", f'"/srv/immich" excludes all of "/srv/immich". {BOTH}'),
    ("/srv/im*/", f'"/srv/im*/" excludes all of "/srv/immich". {BOTH}'),
    ("/srv/[i]*", f'"/srv/[i]*" excludes all of "/srv/immich". {BOTH}'),
]


def read(pattern: str) -> None:
    text = f'directory="/b"\n[jobs.immich]\npaths=["/srv/immich", "/srv/b"]\nexclude=["x", {json.dumps(pattern)}]'
    parse(tomllib.loads(text), lambda _: "config.toml")


@pytest.mark.parametrize(("pattern", "said"), EXCLUDES)
def test_a_pattern_that_cannot_mean_anything(pattern: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(pattern)
    assert [str(problem) for problem in caught.value.problems] == [f"config.toml: jobs.immich.exclude: {said}"]


@pytest.mark.parametrize(
    "pattern",
    [
        "#recycle",
        "~$*.docx",
        "$RECYCLE.BIN",
        "{3F2504E0-4F89}",
        "[{]a,b}",
        "[$]HOME/x",
        "**/!keep",
        "**/# x",
        "**/re:^x",
        "a:b",
        "[!.]*",
        "a b",
        "x[ ]",
        "/srv/immich/*",
        "/srv/immich-old",
        "immich",
        "??*",
        "*.*",
        "cache/",
        "/app/cache",
    ],
)
def test_a_pattern_for_an_odd_name_is_none(pattern: str) -> None:
    read(pattern)

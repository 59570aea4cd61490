"""What a pattern matches, and what it covers."""

import os

import pytest

from hiveden_backup.core.globs import Globs, covering_matcher, literal, matcher, real_patterns
from hiveden_backup.core.model import Source, SourceKind


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("cache", ["cache", "a/cache", "a/b/cache"], ["caches", "a/cache/b", "cache/b", "a/mycache"]),
        ("*.log", ["x.log", "a/.log", "a/b/x.log"], ["x.logs", "x.log/a"]),
        ("a/*", ["a/b", "x/a/b"], ["a", "a/b/c", "ba/c"]),
        ("**/cache", ["cache", "a/cache", "a/b/cache"], ["cache/a"]),
        ("a/**", ["a/b", "a/b/c", "x/a/b"], ["a", "b/a"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a/xb", "b"]),
        ("/srv/data", ["srv/data"], ["a/srv/data", "srv/data/b", "srv"]),
        ("/srv/*/tmp", ["srv/a/tmp"], ["srv/tmp", "srv/a/b/tmp"]),
        ("f?x", ["fox", "a/f.x"], ["fx", "f/x", "foox"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "-x", "x"]),
        ("[!a-c]x", ["dx", "-x"], ["ax", "/x", "x"]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[a-a]", ["a"], ["b", "-"]),
        ("[c-a]", [], ["a", "b", "c", "-"]),
        ("[a", ["[a"], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
        ("dir/", ["dir", "a/dir"], ["dirs"]),
        ("line\nbreak*", ["line\nbreak\nmore"], ["line"]),
        ("/", [], ["", "a"]),
    ],
)
def test_a_pattern(pattern: str, matched: list[str], others: list[str]) -> None:
    matches, covers = matcher([pattern]), covering_matcher([pattern])
    assert [path for path in (*matched, *others) if matches(os.fsencode(path))] == matched
    assert [
        path for path in matched if not (covers(os.fsencode(path)) and covers(os.fsencode(f"{path}/below/it")))
    ] == []


def test_several_patterns_and_none() -> None:
    assert matcher(["a", "/b/c"])(b"b/c")
    assert not matcher([])(b"a")
    assert not covering_matcher([])(b"a")


def test_a_pattern_that_matched_nothing_is_known() -> None:
    """Also when what it matches is matched by another one as well."""
    globs = Globs(["*.tmp", "/srv/a.tmp", "cache", "a/b", "/srv"])
    for path in (b"srv/b.tmp", b"srv/x", b"srv/cache/y"):
        globs.matches(path)
    assert set(globs.unmatched) == {"/srv/a.tmp", "cache", "a/b", "/srv"}
    for path in (b"srv/a.tmp", b"x/a/b"):
        assert globs.matches(path)
    assert set(globs.unmatched) == {"cache", "/srv"}
    covering = Globs(["/srv", "cache"], covering=True)
    assert covering.matches(b"srv/x")
    assert covering.unmatched == ("cache",)


def test_bytes_that_are_no_text() -> None:
    assert matcher(["*.\udcff"])(b"a/x.\xff")


@pytest.mark.parametrize("path", ["/srv/a", "/srv/[x]*?", "/a]b"])
def test_a_literal_matches_itself_alone(path: str) -> None:
    assert matcher([literal(path)])(path[1:].encode())
    assert not matcher([literal(path)])(b"srv/x")


def test_patterns_hold_behind_a_symbolic_link_as_well() -> None:
    sources = [Source(SourceKind.PATH, "/data", "/mnt/disk[1]"), Source(SourceKind.PATH, "/etc", "/etc")]
    given = ["/data/cache", "*.tmp", "/etc/x", "/database/x"]
    assert list(real_patterns(given, sources)) == ["/data/cache", "/mnt/disk[[]1]/cache", *given[1:]]


def test_the_name_of_a_volume_is_no_path() -> None:
    """A pattern that happens to be the same excludes what is called so, not the volume."""
    sources = [Source(SourceKind.VOLUME, "cache", "/var/lib/docker/volumes/cache/_data")]
    given = ["cache", "cache/tmp", "**/cache"]
    assert list(real_patterns(given, sources)) == given

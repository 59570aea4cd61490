"""What tar says while it archives: what is no failure, what is a warning, what fails the job."""

import pytest

from hiveden_backup.core.backup.creation import classify

END = "tar: Exiting with failure status due to previous errors\n"
UNSUPPORTED = "Operation not supported"


@pytest.mark.parametrize(
    ("told", "fatal"),
    [
        (r"srv/a\:\ b: file changed as we read it", False),
        (r"srv/a\:\ b: Cannot stat: No such file or directory", True),
        (r"srv/a\:\ b: Cannot open: Not a directory", True),
        (r"srv/a\:\ b/c: Cannot stat: No such file or directory", False),
        (r"srv/a: File removed before we read it", False),
        (r"srv/a: File shrank by 1 byte; padding with zeros", False),
        (r"srv/a: Read error at byte 0, while reading 512 bytes: Input/output error", True),
        (r"srv/a: Cannot open: Permission denied", True),
        ("write error", True),
    ],
)
def test_what_happens_to_a_tree_in_use_is_no_failure_but_a_top_path_that_is_gone_is(told: str, *, fatal: bool) -> None:
    found = classify(f"/usr/bin/tar: {told}\n{END}", 2, (b"srv/a: b",))
    assert (found.fatal, found.changed) == (((told,), ()) if fatal else ((), (told,)))


def test_warnings_count_once_for_each_file_system_and_kind() -> None:
    lines = [
        f"srv/a: Warning: Cannot flistxattr: {UNSUPPORTED}",
        f"srv/a/f: Warning: Cannot llistxattrat: {UNSUPPORTED}",
        f"srv/a/l: Warning: Cannot llistxattr: {UNSUPPORTED}",
        f"srv/a/b\\:\\ c/f: Warning: Cannot flistxattr: {UNSUPPORTED}",
        f"srv/ab/f: Warning: Cannot flistxattr: {UNSUPPORTED}",
        "srv/a/x: Warning: Cannot file_has_acl_at: File name too long",
        "srv/a/y: Warning: Cannot file_has_acl_at: File name too long",
        "srv/a/f: Warning: Something of the next release",
    ]
    said = "".join(f"tar: {line}\n" for line in lines)
    found = classify(said, 0, (b"srv",), (b"", b"srv/a", b"srv/a/b: c"))
    assert (found.changed, found.fatal) == ((), ())
    assert [(warned.point, warned.line, warned.more) for warned in found.warned] == [
        (b"srv/a", lines[0], 2),
        (b"srv/a/b: c", lines[3], 0),
        (b"", lines[4], 0),
        (b"srv/a", lines[5], 1),
        (b"srv/a", lines[7], 0),
    ]
    sentences = [warned.sentence for warned in found.warned]
    assert "The file system at /srv/a/b: c tells of no extended attributes" in sentences[1]
    assert "(tar: srv/a/x: Warning: Cannot file_has_acl_at: File name too long, and so of 1 more paths)" in sentences[3]


def test_warnings_are_none_where_tar_failed_of_something_else() -> None:
    said = f"tar: a: Warning: Cannot flistxattr: {UNSUPPORTED}\ntar: b: file changed as we read it\n"
    found = classify(said, 1, ())
    assert (found.fatal, len(found.warned)) == ((), 1)


@pytest.mark.parametrize("said", ["", f"tar: a: Warning: Cannot flistxattr: {UNSUPPORTED}\n"])
def test_a_failure_that_nothing_explains_is_one(said: str) -> None:
    assert classify(said + END, 2, ()).fatal
    assert not classify(said, 0, ()).fatal


def test_a_warning_of_what_vanished_is_a_tree_in_use() -> None:
    found = classify("tar: srv/x: Warning: Cannot file_has_acl_at: No such file or directory\n", 0, [b"srv"])
    assert (len(found.changed), found.warned, found.fatal) == (1, (), ())


def test_what_a_confined_tar_was_denied_is_told_apart_until_somebody_looked_again() -> None:
    lines = [r"srv/a\:b/c: Cannot open: Permission denied", "srv/d: Cannot open: Permission denied"]
    found = classify("".join(f"tar: {line}\n" for line in lines) + END, 2, (b"srv",), confined=True)
    assert (found.changed, found.fatal, found.denied) == ((), (), tuple(lines))
    assert found.denied_names == {rb"srv/a\:b/c", b"srv/d"}
    settled = found.settled({b"srv/a:b/c"})
    assert settled.fatal == (lines[0],)
    assert settled.changed == ("srv/d: something else was in its place as it was to be read",)
    assert settled.denied == ()

"""What tar says while it extracts: what a place would not keep, and what went wrong."""

import pytest

from hiveden_backup.core.backup.extraction import Loss, Losses, classify

END = "tar: Exiting with failure status due to previous errors"


def test_what_is_looked_at_afterwards() -> None:
    told = classify(
        "tar: ./f: Cannot change ownership to uid 1000, gid 1000: Operation not permitted\n"
        "tar: srv/a\\: Cannot open: Cannot utime: Permission denied\n"
        "/usr/bin/tar: srv/x: Cannot change mode to rwsr-xr-x: Operation not permitted\n"
        f"tar: acl_set_file_at: Cannot set POSIX ACLs for file 'srv/x': Operation not supported\n{END}\n"
    )
    assert (told.fatal, told.denied, told.explained) == ((), 3, True)
    assert told.lost.counts == {}


def test_attributes_are_counted_by_path() -> None:
    lines = [
        f"tar: setxattrat: Cannot set '{name}' extended attribute for file '{path}': Operation not supported"
        for path in ("a", "b", "c", "d")
        for name in ("user.x", "user.y", "system.posix_acl_default", "security.capability")
    ]
    told = classify("\n".join(lines))
    assert told.lost.counts == {Loss.ATTRIBUTES: 4, Loss.ACLS: 4, Loss.CAPABILITIES: 4}
    assert told.lost.only_unsupported
    assert str(told.lost).startswith("extended attributes of 4 paths (/a, /b, /c, ...); ACLs of 4")
    assert not told.explained  # of a failure, they are no reason


def test_a_second_attribute_of_a_path_that_was_denied_counts() -> None:
    told = classify(
        "tar: setxattrat: Cannot set 'user.x' extended attribute for file 'a': Operation not supported\n"
        "tar: setxattrat: Cannot set 'trusted.y' extended attribute for file 'a': Operation not permitted\n"
    )
    assert told.lost.counts == {Loss.ATTRIBUTES: 1}
    assert not told.lost.only_unsupported


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Cannot mknod: Operation not permitted", Loss.SPECIAL),
        ("Cannot mkfifo: Operation not supported", Loss.SPECIAL),
        ("Cannot create symlink to 'a: b': Operation not permitted", Loss.SYMBOLIC_LINKS),
        ("Cannot hard link to 'x': Too many links", Loss.HARD_LINKS),
    ],
)
def test_what_is_not_made(message: str, kind: Loss) -> None:
    told = classify(f"tar: srv/p: {message}\n{END}")
    assert (set(told.not_made), told.fatal, told.explained) == ({kind}, (), True)


@pytest.mark.parametrize(
    "message",
    [
        "Cannot open: No space left on device",
        "Cannot mknod: No space left on device",
        "Cannot change mode to rw-r--r--: Input/output error",
        "Cannot utime: Read-only file system",
        "Cannot open: Permission denied",
        "Cannot mkdir: Permission denied",
        "Not found in archive",
    ],
)
def test_what_goes_wrong_all_the_same(message: str) -> None:
    told = classify(
        f"tar: a: Cannot change ownership to uid 1, gid 1: Operation not permitted\ntar: b: {message}\n{END}"
    )
    assert told.fatal == (f"b: {message}",)
    assert not told.explained
    assert not classify(END).explained


def test_merged() -> None:
    both, other = Losses(), Losses()
    for number in range(3):
        both.add(Loss.ACLS, f"/{number}", unsupported=True)
        other.add(Loss.OWNERS, f"/{number}")
    other.add(Loss.ACLS, "/last", unsupported=True)
    assert both.only_unsupported
    both.merge(other)
    assert not both.only_unsupported
    assert both.table() == [
        {"what": "ACLs", "count": 4, "paths": ["/0", "/1", "/2"]},
        {"what": "owners", "count": 3, "paths": ["/0", "/1", "/2"]},
    ]

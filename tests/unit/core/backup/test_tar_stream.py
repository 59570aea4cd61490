"""Archives as bytes: what is known of a member is what tar meant, and what is not understood is an error."""

import io
import tarfile
from typing import Any

import pytest

from hiveden_backup.core.backup.tar_stream import HARD_LINK, Member, TarStream, TruncatedError


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


def member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def read(data: bytes) -> list[tuple[Member, bytes]]:
    stream = TarStream(io.BytesIO(data).read)
    return [(each, stream.content(each.size)) for each in stream.members()]


def test_members_have_what_tar_wrote() -> None:
    long, longer = "d" * 80 + "/" + "n" * 90, "l" * 300
    found = read(
        archive(
            member("a", b"content", mode=0o4755, uid=5, gid=6, mtime=7),
            member("b", type=tarfile.LNKTYPE, linkname="a"),
            member("d", type=tarfile.DIRTYPE),
            member("l", type=tarfile.SYMTYPE, linkname=longer),
            member(long, b"x" * 600, uid=3 * 10**6),
        )
    )
    assert [each.name for each, _ in found] == [b"a", b"b", b"d", b"l", long.encode()]
    assert [each.kind for each, _ in found] == [b"f", HARD_LINK, b"d", b"l", b"f"]
    assert found[0] == (Member(b"f", b"a", b"", 0o4755, 5, 6, 7, 7 * 10**9, {}, sparse=False), b"content")
    assert found[1][0].target == b"a"
    assert found[3][0].target == longer.encode()
    assert (found[4][0].uid, found[4][1]) == (3 * 10**6, b"x" * 600)


def test_content_that_nobody_reads_is_passed_over() -> None:
    stream = TarStream(io.BytesIO(archive(member("a", b"x" * 5000), member("b", b"y"))).read)
    assert [each.name for each in stream.members()] == [b"a", b"b"]


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("12.000000003", 12 * 10**9 + 3), ("-1.5", -15 * 10**8), ("-0.25", -25 * 10**7), ("5", 5 * 10**9)],
)
def test_times_are_exact(text: str, nanoseconds: int) -> None:
    assert read(archive(member("a", pax_headers={"mtime": text})))[0][0].mtime_ns == nanoseconds


def test_attributes_are_bytes_whatever_is_in_them() -> None:
    headers = {"SCHILY.xattr.user.a%3Db%25c": "one\n17 mtime=1\n=", "SCHILY.xattr.user.empty": ""}
    found = read(archive(member("a", pax_headers=headers)))[0][0]
    assert found.attributes == {b"user.a=b%c": b"one\n17 mtime=1\n=", b"user.empty": b""}
    assert found.mtime_ns == 0


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"SCHILY.acl.access": "user::rw-\ngroup::r--\nother::r--\n"}, True),
        ({"SCHILY.acl.access": "user::rw-\nuser:1:r--\ngroup::r--\nmask::r--\nother::r--\n"}, False),
        ({"SCHILY.acl.default": "user::rw-\ngroup::r--\nother::r--\n"}, False),
        ({"SCHILY.acl.default": "user::rw-\n", "SCHILY.xattr.system.posix_acl_default": "x"}, True),
    ],
)
def test_an_acl_that_is_there_as_a_text_alone_is_not_told(headers: dict[str, str], *, told: bool) -> None:
    assert (read(archive(member("a", pax_headers=headers)))[0][0].attributes is not None) is told


def sparse(head: bytes, data: bytes, **more: str) -> TarStream:
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s", "GNU.sparse.realsize": "9999"}
    content = head + bytes(-len(head) % 512) + data
    return TarStream(io.BytesIO(archive(member("GNUSparseFile/s", content, pax_headers=headers | more))).read)


def test_pieces_of_a_sparse_file() -> None:
    pieces = [(number * 100, 1) for number in range(99)]
    stream = sparse(b"".join(b"%d\n" % each for each in (99, *[n for piece in pieces for n in piece])), b"y" * 99)
    found = next(stream.members())
    assert (found.name, found.size, found.sparse) == (b"s", 9999, True)
    assert stream.segments() == pieces
    assert stream.content(1000) == b"y" * 99


@pytest.mark.parametrize("head", [b"1\n0\n5\n", b"2\n0\n4\n", b"x\n", b"99999999999\n", b"-1\n", b""])
def test_pieces_that_are_none(head: bytes) -> None:
    stream = sparse(head, b"data")
    next(stream.members())
    with pytest.raises(ValueError):  # noqa: PT011 - what of it is wrong does not matter
        stream.segments()


@pytest.mark.parametrize("length", [0, 1, 511, 512, 1000, 1500])
def test_an_archive_that_ends_early(length: int) -> None:
    with pytest.raises(TruncatedError):
        read(archive(member("a", b"x" * 1000))[:length])


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE, tarfile.XGLTYPE, b"M"])
def test_what_is_not_known_is_an_error(kind: bytes) -> None:
    data = bytearray(archive(member("a", b"x")))
    data[156:157] = kind
    with pytest.raises(ValueError, match="another kind"):
        read(bytes(data))


@pytest.mark.parametrize("text", [b"5 a=b\n", b"99 a=b\n", b"6 a=bc", b"x", b"6 abcd\n", b"-6 a=b\n", b"0 a=b\n"])
def test_extended_headers_that_cannot_be_read(text: bytes) -> None:
    data = archive(member("a", b"x", pax_headers={"comment": "c"}))
    size = len(b"13 comment=c\n")
    assert data[512 : 512 + size] == b"13 comment=c\n"
    broken = data[:124] + b"%011o\0" % len(text) + data[136:512] + text + bytes(512 - len(text)) + data[1024:]
    with pytest.raises(ValueError):  # noqa: PT011 - as above
        read(broken)

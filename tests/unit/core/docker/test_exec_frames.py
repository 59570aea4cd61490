"""Docker's mixed stream, taken apart."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveden_backup.core.docker.exec_frames import STDERR, STDOUT, Frames, opened, opening


def mixed(parts: list[tuple[int, bytes]]) -> bytes:
    return b"".join(struct.pack(">BxxxL", kind, len(content)) + content for kind, content in parts)


@given(st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=40))), st.data())
def test_every_cut_gives_the_same_content(parts: list[tuple[int, bytes]], data: st.DataObject) -> None:
    """The stream arrives in pieces of any size; a piece may end inside a header."""
    stream = mixed(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    frames, got = Frames(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += list(frames.feed(stream[start:end]))
    for kind in (STDOUT, STDERR):
        assert b"".join(piece for k, piece in got if k == kind) == b"".join(c for k, c in parts if k == kind)
    assert frames.whole


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_cut_stream_is_not_whole(cut: int) -> None:
    frames = Frames()
    assert frames.whole
    list(frames.feed(mixed([(STDOUT, b"abcd")])[:cut]))
    assert not frames.whole


def test_opening_is_a_complete_request() -> None:
    head, _, body = opening("/v1.41/exec/ab/start", b"{}").partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /v1.41/exec/ab/start HTTP/1.1"
    assert b"Content-Length: 2" in head
    assert body == b"{}"


def test_what_comes_along_with_the_head_is_kept() -> None:
    head = b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\n"
    assert opened(head[:-1]) is None
    assert opened(head) == b""
    assert opened(head + b"\1\0") == b"\1\0"
    assert opened(b"HTTP/1.1 200 OK\r\n\r\nx") == b"x"


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b'{"message":"it is paused"}', "it is paused"), (b"plain words\n", "plain words"), (b"", "HTTP status 409")],
)
def test_a_refusal_gives_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        opened(b"HTTP/1.1 409 Conflict\r\n\r\n" + body)

"""Files that change under tar's hands in a run without a cold pass: read again, or told of; never passed over."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hiveden_backup.core.progress import Silence, Step
from tests.integration.test_storm import Chain

MIB = 1 << 20
SIZE = 64 * MIB
"""More than the pipes and the compressor hold, so that tar has not come to the end when the first bytes arrive."""


class Meddling(Silence):
    """Does something to the tree once tar has begun to read, in as many passes as `times` says."""

    def __init__(self, change: Callable[[], None], times: int) -> None:
        self._change, self._times = change, times
        self._armed = False

    def begin(self, step: Step, total: int = 0) -> None:  # noqa: ARG002 - it matters to people
        self._armed = step is Step.HOT

    def advance(self, count: int) -> None:  # noqa: ARG002 - the first bytes are what counts
        if self._armed and self._times:
            self._armed = False
            self._times -= 1
            self._change()


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    chain = Chain(tmp_path)
    with open("/dev/urandom", "rb") as noise, (chain.tree / "a: file").open("wb") as file:
        file.write(noise.read(SIZE))
    return chain


def rewrite(path: Path) -> None:
    """Its first bytes, which tar has read, and its last ones, which it has not."""
    with path.open("r+b") as file:
        file.write(b"new head")
        file.seek(-8, 2)
        file.write(b"new tail")


def ends(chain: Chain) -> tuple[bytes, bytes]:
    backup = chain.finished.manifest.id
    chain.restored(backup)
    data = (chain.place / f"restored-{backup}" / str(chain.tree / "a: file").lstrip("/")).read_bytes()
    return data[:8], data[-8:]


def run(chain: Chain, change: Callable[[Path], None], times: int) -> tuple[str, ...]:
    """The warnings of a run in which the file is changed in so many passes."""
    meddling = Meddling(lambda: change(chain.tree / "a: file"), times)
    chain.installation = replace(chain.installation, progress=meddling)
    chain.run(None)
    return chain.finished.manifest.warnings


def test_a_file_that_is_written_while_it_is_read_is_read_again(chain: Chain) -> None:
    """Its size and mtime were those of the scan when tar began with it."""
    assert run(chain, rewrite, 1) == ()
    assert ends(chain) == (b"new head", b"new tail")


def test_a_file_that_is_written_in_each_pass_is_a_warning(chain: Chain) -> None:
    (warning,) = run(chain, rewrite, 3)
    assert f"{chain.tree}/a: file changed while it was read" in warning
    assert run(chain, rewrite, 0) == ()
    assert ends(chain) == (b"new head", b"new tail")


def test_a_file_that_is_cut_off_while_it_is_read_is_no_file_that_ends_in_zeros(chain: Chain) -> None:
    def cut(path: Path) -> None:
        os.truncate(path, SIZE - 8)

    assert run(chain, cut, 1) == ()
    assert b"\0" * 8 not in ends(chain)


def test_what_vanished_before_it_was_read_does_not_count(chain: Chain) -> None:
    """Else its archive would seem to be half dead, and would be compacted for nothing."""
    last = chain.tree / "z"
    last.write_bytes(bytes(MIB))
    assert run(chain, lambda _: last.unlink(), 1) == ()
    first = chain.finished.manifest.archives[0]
    assert SIZE < first.live_bytes <= first.content_bytes < SIZE + MIB

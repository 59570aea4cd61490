"""Where in-place restores keep their trees: in the topmost directory of the same mount, so that tests need one."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hiveden_backup.core.restore_record import HOLDER_PREFIX
from hiveden_backup.host.disk import mounts


@contextlib.contextmanager
def own_mount(directory: Path) -> Iterator[Path]:
    """A mount of a directory over itself, for the block: nothing is kept above it, be the program killed."""
    subprocess.run(["mount", "--bind", "--make-private", str(directory), str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A directory in pytest's own, which is a mount."""
    with own_mount(tmp_path):
        inner = tmp_path / "t"
        inner.mkdir(0o700)
        yield inner


def holders(place: Path) -> list[Path]:
    """What is kept below a place, or above it on the same mount."""
    top = Path(mounts.mount_of(str(place), mounts.mounts()).point)
    above = [each for each in place.parents if each.is_relative_to(top)]
    pattern = f"{HOLDER_PREFIX}*"
    return sorted({*place.rglob(pattern), *(path for each in above for path in each.glob(pattern))})

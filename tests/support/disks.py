"""Small disks to run full."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def small_disk(directory: Path, size: str) -> Iterator[None]:
    """A tmpfs of `size` (as in mount(8): "32k") over `directory`, for the block."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def fill(directory: Path) -> None:
    """Leave not one free page on the disk of `directory`."""
    with contextlib.suppress(OSError), open(directory / "filler", "wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass


@contextlib.contextmanager
def own_disk(directory: Path, size: str = "64M") -> Iterator[Path]:
    """An ext4 of our own over `directory`, for the block: nobody else's sync reaches what is written there.

    Yields the file that has what a power cut would leave.
    """
    image = directory.with_name(f"{directory.name}.ext4")
    subprocess.run(["truncate", "--size", size, str(image)], check=True)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(directory)], check=True)
    try:
        yield image
    finally:
        subprocess.run(["umount", str(directory)], check=True)

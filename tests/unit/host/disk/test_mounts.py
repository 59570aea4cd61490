"""Which file systems number their inodes anew: a record there must not depend on them."""

import pytest

from hiveden_backup.host.disk.mounts import Mount


@pytest.mark.parametrize("filesystem", ["nfs4", "cifs", "fuse.mergerfs", "fuseblk", "vfat", "exfat"])
def test_inodes_are_not_trusted(filesystem: str) -> None:
    """On FAT they are others after each mount: a disk of photos would be archived whole each time."""
    assert Mount("/mnt", filesystem).loose


@pytest.mark.parametrize("filesystem", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "ntfs3"])
def test_inodes_are_trusted(filesystem: str) -> None:
    assert not Mount("/mnt", filesystem).loose

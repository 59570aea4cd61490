"""Which file systems number their inodes anew, so that no record may depend on them; and which mounts are disks."""

import pytest

from hiveden_backup.host.disk.mounts import Mount, comes_and_goes


@pytest.mark.parametrize("filesystem", ["nfs4", "cifs", "fuse.mergerfs", "fuseblk", "vfat", "exfat"])
def test_inodes_are_not_trusted(filesystem: str) -> None:
    """On FAT they are others after each mount: a disk of photos would be archived whole each time."""
    assert Mount("/mnt", filesystem).loose


@pytest.mark.parametrize("filesystem", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "ntfs3"])
def test_inodes_are_trusted(filesystem: str) -> None:
    assert not Mount("/mnt", filesystem).loose


CONTAINER = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "point",
    [
        *("/proc", "/sys/fs/cgroup", "/dev/shm", "/run/user/1000", "/tmp", "/var/tmp", "/snap/core/1", "/run"),
        *("/var/lib/docker/overlay2/1f2e/merged", f"/srv/docker/containers/{CONTAINER}/mounts/shm"),
        *("/var/lib/containers/storage/overlay/1f2e/merged", "/var/lib/kubelet/pods/x/volumes/y"),
        *(f"/var/lib/docker/rootfs/overlayfs/{CONTAINER}", f"/srv/docker/rootfs/native/{CONTAINER}"),
        *(
            "/var/lib/docker/fuse-overlayfs/1f2e/merged",
            "/var/lib/docker/tmp/buildkit-mount3158",
            "/tank/.zfs/snapshot/a",
        ),
        *("/var/lib/containerd/tmpmounts/containerd-mount4", "/var/lib/snapd/snap/core/1", "/tank/.zfs/snapshot/a"),
        *("/lib/modules", "/usr/lib/modules"),
    ],
)
def test_what_comes_and_goes_is_no_disk(point: str) -> None:
    """A job over all of / must not fail since a container was stopped, or somebody logged out."""
    assert comes_and_goes(point)


@pytest.mark.parametrize(
    "point",
    [
        *("/", "/home", "/srv/photos", "/run/media/anna/disk", "/mnt/merged", "/tmp/disk", "/var/lib/docker"),
        *("/var/lib/docker/volumes/photos/_data", "/srv/containers/photos", "/device", "/runs", "/data/proc"),
        *("/var/lib/snapd", "/srv/rootfs/overlayfs/photos", "/tank/.zfs", "/usr/lib/modules/6.1", "/srv/lib/modules"),
    ],
)
def test_a_disk_may_be_anywhere_else(point: str) -> None:
    assert not comes_and_goes(point)

"""What a directory is, whatever name leads to it: what a record keeps of one, to know it again after a crash."""

from hiveden_backup.core.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """A directory as it was found. `inode` is 0 where the file system's numbers are not to be trusted.

    `device` is a number of one boot, and of one mount where that is of btrfs; `filesystem` is the file system's own id,
    0 where it has none. `owner` and `mode` are those of a directory of ours, None where others may change them.
    """

    device: int
    inode: int
    filesystem: int
    owner: int | None = None
    mode: int | None = None

    def is_met(self, found: "Identity", *, same_boot: bool) -> bool:
        """Whether `found` is that directory, as far as can be told. `same_boot`: of one life of a machine."""
        if self.inode and self.inode != found.inode:
            return False
        if any(mine not in (None, its) for mine, its in ((self.owner, found.owner), (self.mode, found.mode))):
            return False
        alike = self.device == found.device or 0 != self.filesystem == found.filesystem
        return alike or not same_boot or not self.inode

    @property
    def of_others(self) -> "Identity":
        """What stays of a directory whose owner and mode may change."""
        return Identity(self.device, self.inode, self.filesystem)

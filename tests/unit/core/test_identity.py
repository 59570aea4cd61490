"""When a directory that was found is the one that a record means."""

from dataclasses import replace

from hiveden_backup.core.identity import Identity

OURS = Identity(device=5, inode=77, filesystem=9, owner=0, mode=0o700)


def test_it_is_itself_and_no_other() -> None:
    assert OURS.is_met(OURS, same_boot=True)
    others = replace(OURS, inode=78), replace(OURS, owner=1000), replace(OURS, mode=0o755)
    assert not any(OURS.is_met(other, same_boot=boot) for other in others for boot in (True, False))


def test_devices_are_numbered_anew_with_a_boot_and_a_mount() -> None:
    elsewhere = replace(OURS, device=6, filesystem=10)
    assert not OURS.is_met(elsewhere, same_boot=True)
    assert OURS.is_met(elsewhere, same_boot=False)
    assert OURS.is_met(replace(OURS, device=6), same_boot=True)  # the disk was mounted again
    nameless = replace(OURS, filesystem=0)
    assert not nameless.is_met(replace(nameless, device=6), same_boot=True)


def test_where_inodes_are_not_trusted_owner_and_mode_tell() -> None:
    loose = replace(OURS, inode=0)
    assert loose.is_met(replace(OURS, device=6, filesystem=10), same_boot=True)
    assert not loose.is_met(replace(OURS, owner=1000), same_boot=True)


def test_a_directory_of_others_may_change_owner_and_mode() -> None:
    assert OURS.of_others.is_met(replace(OURS, owner=1000, mode=0o777), same_boot=True)
    assert not OURS.of_others.is_met(replace(OURS, inode=78), same_boot=True)

"""Names that change places: each step as often as one likes, nothing replaced, nothing carried over a link."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hiveden_backup.core.errors import StorageError
from hiveden_backup.core.identity import Identity
from hiveden_backup.core.restore_record import Swap
from hiveden_backup.host.disk import beneath, swaps
from hiveden_backup.host.disk.ground import Ground
from tests.support.disks import small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """One whose inode numbers are to be trusted, wherever tests run."""
    with small_disk(tmp_path, "2M"):
        yield tmp_path


@pytest.fixture
def swap(disk: Path) -> Swap:
    """`home/live` is to change for what waits in the holder; in both lies a directory `app`."""
    holder = disk / "holder"
    for place, word in ((disk / "home/live", "now"), (holder / "new/live", "then")):
        (place / "app").mkdir(parents=True)
        (place / "word").write_text(word)
    (holder / "old").mkdir()
    (disk / "home/live/app/cache").mkdir()
    return Swap(
        f"{disk}/home/live", f"{holder}/old/0", f"{holder}/new/live", had=True, comes=True, carried=("app/cache",)
    )


def known(path: str) -> Identity:
    with beneath.opened(path) as directory:
        return beneath.identity(directory)


def ground(swap: Swap) -> Ground:
    holder = swap.old.removesuffix("/old/0")
    above = os.path.dirname(swap.live)
    return Ground([holder], {holder: known(holder), above: known(above).of_others}, same_boot=True)


def forward(swap: Swap) -> None:
    with ground(swap) as here:
        swaps.forward(swap, here)


def backward(swap: Swap) -> None:
    with ground(swap) as here:
        swaps.backward(swap, here)


def shown(swap: Swap) -> tuple[str, bool]:
    return (Path(swap.live) / "word").read_text(), (Path(swap.live) / "app/cache").is_dir()


def test_each_way_may_be_gone_again(swap: Swap) -> None:
    for _ in range(2):
        forward(swap)
        assert shown(swap) == ("then", True)
    for _ in range(2):
        backward(swap)
        assert shown(swap) == ("now", True)
    assert sorted(os.listdir(os.path.dirname(swap.old))) == []


def test_what_appears_meanwhile_is_kept(swap: Swap) -> None:
    for way, place in ((forward, swap.old), (backward, swap.new)):
        os.rename(swap.live, place)  # as far as it came
        Path(swap.live).mkdir()
        way(swap)
    assert sorted(os.listdir(os.path.dirname(swap.old))) == ["0.appeared-1", "0.appeared-2"]
    assert shown(swap)[0] == "now"


def test_an_undo_of_what_somebody_removed_may_be_done_again(swap: Swap) -> None:
    forward(swap)
    shutil.rmtree(swap.live)
    for _ in range(2):
        backward(swap)
    assert shown(swap)[0] == "now"


def test_nothing_there_is_no_success(swap: Swap) -> None:
    forward(swap)
    shutil.rmtree(swap.old)
    with pytest.raises(StorageError, match="Neither"):
        backward(swap)
    assert shown(swap)[0] == "then"
    shutil.rmtree(swap.live)
    with pytest.raises(StorageError, match="Neither"):
        forward(swap)


def test_only_the_right_directories_are_worked_in(swap: Swap, disk: Path) -> None:
    for name in ("holder", "home"):
        here = ground(swap)
        (disk / name).rename(disk / "hers")
        shutil.copytree(disk / "hers", disk / name)
        with here, pytest.raises(StorageError, match=f"{name} is not the directory that it was"):
            swaps.forward(swap, here)
        shutil.rmtree(disk / name)
        (disk / name).symlink_to("hers")
        with here, pytest.raises((StorageError, OSError), match="symbolic link"):
            swaps.forward(swap, here)
        (disk / name).unlink()
        (disk / "hers").rename(disk / name)
    assert shown(swap)[0] == "now"


def test_what_is_held_is_gone_on_with(swap: Swap, disk: Path) -> None:
    with ground(swap) as here:
        here.hold()
        here.end(swap.live)
        for name in ("holder", "home"):
            (disk / name).rename(disk / f"{name}.hers")
            shutil.copytree(disk / f"{name}.hers", disk / name)
        swaps.forward(swap, here)
    assert shown(swap)[0] == "now"
    assert (disk / "home.hers/live/word").read_text() == "then"


@pytest.mark.parametrize("side", ["live", "new"])
def test_nothing_is_carried_over_a_link(swap: Swap, disk: Path, side: str) -> None:
    elsewhere = disk / "elsewhere"
    elsewhere.mkdir()
    if side == "live":
        (elsewhere / "cache").mkdir()
    app = Path(getattr(swap, side)) / "app"
    shutil.rmtree(app)
    app.symlink_to(elsewhere)
    before = sorted(os.listdir(elsewhere)), elsewhere.stat().st_mtime_ns
    forward(swap)
    backward(replace(swap, carried=("app/cache", "app/more")))
    assert (sorted(os.listdir(elsewhere)), elsewhere.stat().st_mtime_ns) == before


def test_a_root_is_dressed_itself_alone(swap: Swap, disk: Path) -> None:
    home, victim = disk / "home", disk / "victim"
    victim.mkdir(mode=0o700)
    Path(swap.new).chmod(0o2771)
    os.chown(swap.new, 5, 6)
    with ground(swap) as here:
        swaps.dress_root(swap.new, str(home), here)
    status = home.stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o2771, 5, 6)
    here = ground(swap)
    home.rename(disk / "hers")
    victim.rename(home)
    with here, pytest.raises(StorageError, match="not the directory"):
        swaps.dress_root(swap.new, str(home), here)
    assert home.stat().st_uid == 0
    assert home.stat().st_mode & 0o7777 == 0o700

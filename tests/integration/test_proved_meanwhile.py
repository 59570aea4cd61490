"""While paths are compared with archives, trees go on and disks decay: what is not seen to be equal is archived."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from hiveden_backup.core.errors import Interrupted
from hiveden_backup.core.progress import Step
from tests.integration.test_moved import Meddling
from tests.integration.test_proved import MIB, OLD, again, chain, copied, flip, index
from tests.integration.test_storm import Chain, Held, difference
from tests.support.storm import blowing, change_places

__all__ = ["chain"]


def meddle(chain: Chain, *acts: Callable[[], object]) -> None:
    """Do something at the first content that is compared, and after each two MiB more."""
    changes = {2 * number * MIB: act for number, act in enumerate(acts)}
    chain.installation = replace(chain.installation, progress=Meddling(Step.PROVE, changes))  # type: ignore[arg-type]


def test_a_file_that_changes_while_it_is_compared(chain: Chain) -> None:
    """What was compared already changes, and what was not: both under the same time of modification."""
    copied(chain.tree)
    chain.worth_proving = 0
    first, last = chain.tree / "file", chain.tree / "other"

    def change() -> None:
        flip(first, 0)
        flip(last, 0)

    meddle(chain, lambda: None, change)
    assert {"file", "other"} <= again(chain)


def twins(chain: Chain) -> tuple[Path, Path]:
    one, two = chain.tree / "m/a", chain.tree / "m/b"
    for folder in (one, two):
        folder.mkdir(parents=True)
        (folder / "version").write_text(f"{folder.name}\n" * MIB)
        os.utime(folder / "version", ns=OLD)
    chain.run(None)
    copied(chain.tree)
    return one, two


def test_directories_that_change_places_while_they_are_compared(chain: Chain) -> None:
    one, two = twins(chain)

    def swap() -> None:
        change_places(one, two, chain.tree / "aside")

    meddle(chain, swap)
    again(chain)
    assert (one / "version").read_text()[0] == "b"
    chain.installation = replace(chain.installation, progress=Meddling(Step.PROVE, {}))
    again(chain)


def test_no_link_is_followed_where_a_directory_was(chain: Chain, tmp_path: Path) -> None:
    """Elsewhere lies what the archive has of it, to the letter: it is archived here as what it is now."""
    one, two = twins(chain)
    elsewhere = tmp_path / "elsewhere"

    def swap() -> None:
        two.rename(elsewhere)
        two.symlink_to(elsewhere)

    meddle(chain, swap)
    again(chain)
    assert not [record for record in index(chain) if record.path.endswith(b"/m/b/version")]
    assert one.is_dir()


def test_who_interrupts_it_is_not_waited_for_and_loses_nothing(chain: Chain) -> None:
    copied(chain.tree)

    def interrupt() -> None:
        raise Interrupted(signal.SIGTERM)

    meddle(chain, interrupt)
    with pytest.raises(Interrupted):
        chain.run(None)
    assert readers() == []
    assert again(chain) == set()


def test_a_reader_that_is_killed_says_nothing_of_its_archive(chain: Chain) -> None:
    """It may have been the machine's lack of memory."""
    copied(chain.tree)

    def kill() -> None:
        for child in readers():
            os.kill(child, signal.SIGKILL)

    meddle(chain, kill)
    assert {"file", "other"} <= again(chain)
    assert chain.finished.manifest.warnings == ()


def readers() -> list[int]:
    """The processes of this one that read an archive; it may have others, of fixtures that tests share."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            children = (task / "children").read_text().split()
            found += [int(each) for each in children if Path(f"/proc/{each}/comm").read_text() == "zstd\n"]
    return found


@pytest.mark.parametrize("seed", range(2))
def test_a_storm_over_copies(tmp_path: Path, seed: int) -> None:
    chain = Chain(tmp_path, unusual=False)
    chain.worth_proving = 0
    with blowing(chain.tree, 2000 + seed) as storm:
        for _ in range(3):
            storm.hold()
            copied(chain.tree)
            storm.go_on()
            execution = chain.run(storm)
            assert isinstance(execution, Held)
            assert difference(chain.restored(chain.finished.manifest.id), execution.moment) == []
    chain.verify()
    assert chain.tells_no_secret()


# ---- archives --------------------------------------------------------------------------------------------------------


def test_a_damaged_archive_proves_nothing_and_is_never_built_upon(chain: Chain) -> None:
    (chain.tree / "later").write_text("in another archive")
    os.utime(chain.tree / "later", ns=OLD)
    chain.run(None)
    archive = chain.directory.job_path("storm") / chain.finished.manifest.archives[0].path
    with archive.open("r+b") as file:
        file.seek(archive.stat().st_size - 2)  # of the checksum of all of it
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    for path in ("file", "other"):  # more than a quarter, and not all
        shutil.copy2(chain.tree / path, chain.tree / "new")
        os.chown(chain.tree / "new", (chain.tree / path).stat().st_uid, (chain.tree / path).stat().st_gid)
        (chain.tree / "new").rename(chain.tree / path)
    found = again(chain)
    assert {"file", "other", "nothing", "linked", "special", "capable"} <= found
    assert "later" not in found
    assert [warning for warning in chain.finished.manifest.warnings if "damaged" in warning]
    assert archive.name not in {Path(each.path).name for each in chain.finished.manifest.archives}


def test_what_is_in_several_archives(chain: Chain) -> None:
    for number in range(3):
        (chain.tree / f"file {number}").write_text("more")
        os.utime(chain.tree, ns=OLD)
        chain.run(None)
        time.sleep(1)
    copied(chain.tree)
    flip(chain.tree / "file 1", 0)
    assert again(chain) == {"file 1"}


def test_what_is_in_a_sequence_of_small_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of one inode are in one archive, though others lie between them."""
    monkeypatch.setenv("HIVEDEN_BACKUP_ARCHIVE_BYTES", str(MIB // 16))
    chain = Chain(tmp_path, compact_ratio=0.001)
    chain.worth_proving = 0
    for number in range(100):
        (chain.tree / f"file {number:02}").write_bytes(os.urandom(10_000))
        if number < 50:
            os.link(chain.tree / f"file {number:02}", chain.tree / f"link {number:02}")
    chain.run(None)
    copied(chain.tree)
    assert again(chain) == set()
    copied(chain.tree)
    flip(chain.tree / "file 07", 0)
    flip(chain.tree / "file 77", 0)
    assert again(chain) == {"file 07", "link 07", "file 77"}

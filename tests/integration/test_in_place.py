"""Files restored in place: what comes back, what is kept, what is carried over, what is refused; and undo."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.test_roundtrip import holes, make_every_kind
from tests.support.disks import small_disk
from tests.support.holders import holders, own_mount
from tests.support.program import Program
from tests.support.storm import describe


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def restore(program: Program, backup: str) -> str:
    return program.ok("restore", f"files/{backup}", "--in-place", "--yes")


def refused(program: Program, backup: str, code: int, *words: str) -> None:
    """The restore is refused before anything is touched, and what it says has these words."""
    before = describe(program.place / "tree")
    done = program.call("restore", f"files/{backup}", "--in-place", "--yes")
    assert done.returncode == code, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert describe(program.place / "tree") == before
    assert holders(program.place) == []


def test_every_kind_of_file_comes_back_and_goes_again(program: Program) -> None:
    make_every_kind(program.tree)
    wanted = describe(program.tree)
    backup = program.run()
    (program.tree / "linked").write_text("changed")
    shutil.rmtree(program.tree / "empty")
    (program.tree / "more").mkdir()
    (program.tree / "special").unlink()
    program.tree.chmod(0o700)
    replaced = describe(program.tree)
    said = restore(program, backup)
    assert str(program.tree) in said
    assert "undo files --yes" in said
    assert describe(program.tree) == wanted
    assert holes(program.tree / "sparse")
    assert os.getxattr(program.tree / "capable", "security.capability")
    assert "Back as before" in program.ok("undo", "files", "--yes")
    assert describe(program.tree) == replaced


def test_without_yes_it_tells_and_does_nothing(program: Program) -> None:
    (program.tree / "file").write_bytes(bytes(3000))
    backup = program.run()
    (program.tree / "file").write_bytes(bytes(5000))
    os.utime(program.tree / "file", (4e9, 4e9))
    done = program.call("restore", f"files/{backup}", "--in-place")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    for word in (str(program.tree), "4.9 KiB", "2.9 KiB", "2 paths", "changed 2096-10-02"):
        assert word in done.stdout
    assert (program.tree / "file").stat().st_size == 5000
    assert not (program.place / "state/undo").exists()
    restore(program, backup)
    done = program.call("undo", "files")
    assert done.returncode == 2
    assert str(program.tree) in done.stdout
    assert (program.tree / "file").stat().st_size == 3000


def test_undo_goes_back_step_by_step_and_once_each(program: Program) -> None:
    file = program.tree / "file"
    file.write_text("first")
    first = program.run()
    file.write_text("second")
    second = program.run()
    file.write_text("third")
    restore(program, second)
    restore(program, first)
    assert file.read_text() == "first"
    program.ok("undo", "files", "--yes")
    assert file.read_text() == "second"
    program.ok("undo", "files", "--yes")
    assert file.read_text() == "third"
    assert program.call("undo", "files", "--yes").returncode == 66


def test_what_is_kept_is_never_backed_up_and_goes_when_its_time_is_over(tmp_path: Path) -> None:
    program = Program(tmp_path, f'\n[jobs.above]\npaths = ["{tmp_path}/data"]\n')
    data = tmp_path / "data"
    data.mkdir()
    program.tree.rename(data / "tree")
    program.tree = data / "tree"
    text = program.config.read_text().replace(f'paths = ["{tmp_path}/tree"]', f'paths = ["{program.tree}"]')
    program.config.write_text(text)
    (program.tree / "file").write_text("then")
    backup = program.run()
    restore(program, backup)
    (kept,) = holders(data)
    assert kept.stat().st_mode & 0o777 == 0o700
    program.ok("run", "above")
    paths = program.ok("show", "above/latest", "--files").splitlines()
    assert f"{program.tree}/file" in paths
    assert not [path for path in paths if "hiveden" in path]
    program.config.write_text(text.replace("[jobs.above]", '[jobs.above]\nundo_keep = "1us"'))
    program.ok("prune")
    assert holders(data) == [kept]  # that job's time is not over
    program.config.write_text(text.replace("[jobs.files]", '[jobs.files]\nundo_keep = "1us"'))
    program.ok("prune", "--dry-run")
    assert holders(data) == [kept]
    program.ok("run", "above")  # any job's run looks after them
    assert holders(data) == []
    assert program.call("undo", "files", "--yes").returncode == 66


def test_what_the_backup_leaves_out_stays_in_place(tmp_path: Path) -> None:
    program = Program(tmp_path, f'exclude = ["{tmp_path}/tree/postgres", "**/cache"]')
    (program.tree / "app/cache").mkdir(parents=True)
    (program.tree / "app/later").mkdir()
    (program.tree / "postgres").mkdir()
    (program.tree / "postgres/PG_VERSION").write_text("15")
    times = (program.tree / "app").stat().st_mtime_ns
    backup = program.run()
    (program.tree / "app/cache/entry").write_text("warm")
    (program.tree / "new/cache").mkdir(parents=True)
    (program.tree / "app/more").write_text("newer")
    raw = (program.tree / "postgres").stat().st_ino
    done = program.call("restore", f"files/{backup}", "--in-place", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"{program.tree}/new/cache is not in the backup" in done.stderr
    assert (program.tree / "postgres").stat().st_ino == raw
    assert (program.tree / "app/cache/entry").read_text() == "warm"
    assert (program.tree / "app").stat().st_mtime_ns == times
    assert not (program.tree / "new").exists()
    (program.tree / "postgres/postgresql.conf").write_text("written since")
    (program.tree / "app/later/cache").mkdir()
    program.ok("undo", "files", "--yes")
    assert (program.tree / "app/later/cache").is_dir()
    assert (program.tree / "postgres").stat().st_ino == raw
    assert (program.tree / "postgres/postgresql.conf").exists()
    assert (program.tree / "app/cache/entry").read_text() == "warm"
    assert (program.tree / "app/more").read_text() == "newer"
    assert (program.tree / "new/cache").is_dir()


def test_a_link_never_leads_what_is_carried_over_elsewhere(tmp_path: Path) -> None:
    program = Program(tmp_path, 'exclude = ["**/cache"]')
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (program.tree / "app").symlink_to(elsewhere)
    backup = program.run()
    (program.tree / "app").unlink()
    (program.tree / "app/cache").mkdir(parents=True)
    restore(program, backup)
    assert (program.tree / "app").is_symlink()
    assert list(elsewhere.iterdir()) == []


def test_single_files_missing_paths_and_links_between_paths(tmp_path: Path) -> None:
    program = Program(tmp_path)
    file, deep = tmp_path / "one.conf", tmp_path / "a/b/deep"
    file.write_text("then")
    deep.mkdir(parents=True)
    os.link(file, deep / "other name")
    (program.tree / "inside").write_text("tree")
    os.link(program.tree / "inside", deep / "third")
    text = program.config.read_text()
    program.config.write_text(text.replace(f'"{program.tree}"', f'"{program.tree}", "{file}", "{deep}"'))
    backup = program.run()
    file.write_text("now")
    file.chmod(0o600)
    shutil.rmtree(tmp_path / "a")
    failed = program.call("restore", f"files/{backup}", "--in-place", "--yes", failpoint="stage:error")
    assert failed.returncode == 1
    assert not (tmp_path / "a").exists()
    restore(program, backup)
    assert file.read_text() == "then"
    assert file.samefile(deep / "other name")
    assert (program.tree / "inside").samefile(deep / "third")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755
    program.ok("undo", "files", "--yes")
    assert file.read_text() == "now"
    assert not (tmp_path / "a").exists()


def test_a_path_that_became_something_else_is_replaced_and_comes_back(program: Program) -> None:
    (program.tree / "file").write_text("then")
    backup = program.run()
    shutil.rmtree(program.tree)
    program.tree.write_text("a file now")
    restore(program, backup)
    assert (program.tree / "file").read_text() == "then"
    program.ok("undo", "files", "--yes")
    assert program.tree.read_text() == "a file now"


def test_mount_points_are_refused(program: Program) -> None:
    (program.tree / "inner").mkdir()
    (program.tree / "inner/file").write_text("then")
    backup = program.run()
    for point in (program.tree, program.tree / "inner"):
        with small_disk(point, "1m"):
            refused(program, backup, 1, f"{point} is a mount point", "--to DIR")
    restore(program, backup)


def test_links_in_the_way_are_refused(program: Program) -> None:
    (program.tree / "file").write_text("then")
    backup = program.run()
    other = program.place / "other"
    program.tree.rename(other)
    program.tree.symlink_to(other)
    refused(program, backup, 1, "symbolic link", str(other))
    program.tree.unlink()
    other.rename(program.tree)
    aside = program.place.with_name(f"{program.place.name}-moved")
    program.place.rename(aside)
    program.place.symlink_to(aside)
    refused(program, backup, 1, "leads to", str(aside))


def test_the_backup_directory_is_never_swapped(program: Program) -> None:
    (program.tree / "file").write_text("then")
    backup = program.run()
    program.backups.rename(program.tree / "backups")
    program.config.write_text(f'directory = "{program.tree}/backups"\n')
    refused(program, backup, 1, f"{program.tree}/backups", "--to DIR")


def test_the_backup_directory_is_not_swapped_under_another_name(program: Program) -> None:
    """Where the program knows it by a bind mount, no mount point below the path tells."""
    (program.tree / "file").write_text("then")
    backup = program.run()
    inside = program.tree / "disk/backups"
    inside.parent.mkdir()
    program.backups.rename(inside)
    program.backups.mkdir()
    subprocess.run(["mount", "--bind", inside, program.backups], check=True)
    try:
        refused(program, backup, 1, str(inside), "--to DIR")
    finally:
        subprocess.run(["umount", program.backups], check=True)
    program.backups.rmdir()
    inside.rename(program.backups)
    restore(program, backup)


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, "40m"):
        program = on_disk(tmp_path, disk)
        (program.tree / "large").write_bytes(os.urandom(15 << 20))
        backup = program.run()
        done = program.call("restore", f"files/{backup}", "--in-place")
        assert done.returncode == 74
        assert "does not fit" in done.stderr
        with (program.tree / "large").open("wb") as file:  # with holes it takes nothing
            file.truncate(30 << 20)
        backup = program.run()
        restore(program, backup)
        assert holes(program.tree / "large")


def test_what_fits_path_by_path_may_not_fit_together(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, "60m"):
        program = on_disk(tmp_path, disk)
        other = disk / "other"
        other.mkdir()
        text = program.config.read_text()
        program.config.write_text(text.replace(f'"{program.tree}"', f'"{program.tree}", "{other}"'))
        for tree in (program.tree, other):
            (tree / "large").write_bytes(os.urandom(12 << 20))
        backup = program.run()
        done = program.call("restore", f"files/{backup}", "--in-place")
        assert (done.returncode, "does not fit" in done.stderr) == (74, True)
        (other / "large").unlink()
        restore(program, backup)


def test_a_disk_that_gets_full_leaves_everything_as_it_was(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, "42m"):
        program = on_disk(tmp_path, disk)
        for number in range(5500):  # each takes a page, and weighs next to nothing
            (program.tree / str(number)).write_text("x")
        backup = program.run()
        before = describe(program.tree)
        done = program.call("restore", f"files/{backup}", "--in-place", "--yes")
        assert done.returncode == 74, done.stderr
        assert "No space left on device" in done.stderr
        assert describe(program.tree) == before
        assert holders(disk) == []
        assert list((tmp_path / "state/undo/files").iterdir()) == []


def on_disk(place: Path, disk: Path) -> Program:
    """A program whose tree is on a disk of its own."""
    program = Program(place)
    tree = disk / "tree"
    tree.mkdir()
    program.config.write_text(program.config.read_text().replace(f'"{program.tree}"', f'"{tree}"'))
    program.tree = tree
    return program


def test_ways_to_restore_exclude_each_other(program: Program) -> None:
    backup = program.run()
    for options in (["--in-place", "--to", "/x"], ["--in-place", "--only", "x"], ["--in-place", "--database", "x"], []):
        done = program.call("restore", f"files/{backup}", "--yes", *options)
        assert done.returncode == 2, options
        assert not Path("/x").exists()


def test_something_that_appears_in_the_way_is_set_aside(program: Program) -> None:
    """Docker makes a missing directory that it is to mount, such as after a boot in mid-swap."""
    (program.tree / "file").write_text("then")
    backup = program.run()
    (program.tree / "file").write_text("now")
    done = program.call("restore", f"files/{backup}", "--in-place", "--yes", failpoint="swap@1:kill")
    assert done.returncode == -9
    (holder,) = holders(program.place)
    program.tree.rename(holder / "old/0")  # as far as the first rename
    program.tree.mkdir()
    (program.tree / "of docker").touch()
    assert "was finished" in program.ok("recover")
    assert (program.tree / "file").read_text() == "then"
    assert (holder / "old/0.appeared-1/of docker").exists()
    program.ok("undo", "files", "--yes")
    assert (program.tree / "file").read_text() == "now"


def test_a_disk_that_is_not_mounted_is_waited_for(tmp_path: Path) -> None:
    """After a boot it may come late: nothing is there then, which looks like a swap that has been done."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with own_mount(disk):
        waited_for(on_disk(tmp_path, disk), disk)


def waited_for(program: Program, disk: Path) -> None:
    (program.tree / "file").write_text("then")
    backup = program.run()
    (program.tree / "file").write_text("now")
    steps = (
        (("restore", f"files/{backup}", "--in-place", "--yes"), "swap@1:kill", "was finished", "then"),
        (("undo", "files", "--yes"), "undo@1:kill", "was reversed", "now"),
    )
    for command, point, told, word in steps:
        assert program.call(*command, failpoint=point).returncode == -9
        (holder,) = holders(disk)
        with small_disk(disk, "1m"):
            done = program.call("recover")
            assert done.returncode == 74, done.stdout
            assert str(holder) in done.stdout
        assert told in program.ok("recover")
        assert (program.tree / "file").read_text() == word


def test_an_undo_without_what_was_replaced_changes_nothing(program: Program) -> None:
    (program.tree / "file").write_text("then")
    backup = program.run()
    (program.tree / "file").write_text("now")
    restore(program, backup)
    (holder,) = holders(program.place)
    for gone in (holder / "old/0", holder):
        shutil.rmtree(gone)
        done = program.call("undo", "files", "--yes")
        assert done.returncode == 66, done.stderr
        assert str(gone) in done.stderr
        assert (program.tree / "file").read_text() == "then"
    assert program.ok("recover") == "Nothing is owed.\n"
    program.run()


def test_what_is_kept_on_a_disk_that_is_away_is_not_forgotten(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    (disk / "apps").mkdir(parents=True)
    with own_mount(disk):
        program = on_disk(tmp_path, disk / "apps")
        (program.tree / "file").write_text("then")
        restore(program, program.run())
        text = program.config.read_text()
        program.config.write_text(text.replace("[jobs.files]", '[jobs.files]\nundo_keep = "1us"'))
        with small_disk(disk, "1m"):
            program.ok("recover")
        assert len(holders(disk)) == 1
        program.ok("recover")
        assert holders(disk) == []

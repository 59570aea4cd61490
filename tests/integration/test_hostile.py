"""Backups that somebody has tampered with, digests and all: nothing is written outside of where it was asked for."""

import json
import os
import stat
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.disks import small_disk
from tests.support.forge import Record, forged, member
from tests.support.holders import holders
from tests.support.program import Program
from tests.support.storm import describe


@dataclass
class Forgery:
    """A backup whose archive and index are made by hand, for a tree at `top` (relative to `/`).

    `outside` is a directory that no restore may touch.
    """

    program: Program
    backup: str
    outside: Path

    @property
    def top(self) -> str:
        return str(self.program.tree).lstrip("/")

    def forge(self, members: Sequence[tarfile.TarInfo], records: Sequence[Record]) -> None:
        """Put these members into the archive and these records into the index."""
        with forged(self.program.backups / "files" / self.backup) as backup:
            backup.archive([(each, b"x" * each.size) for each in members], records)


@pytest.fixture
def forgery(tmp_path: Path) -> Forgery:
    place = tmp_path / "place"
    place.mkdir()
    program = Program(place)
    (program.tree / "file").write_text("as it is")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_text("sings")
    return Forgery(program, program.run(), outside)


Made = tuple[list[tarfile.TarInfo], list[Record]]


def absolute_path(forgery: Forgery) -> Made:
    evil = f"{forgery.outside}/new"
    return [member(forgery.top, tarfile.DIRTYPE, 0o755), member(evil, size=4)], [
        ("d", 0o755, 0, forgery.top),
        ("f", 0o644, 4, evil),
    ]


def absolute_member(forgery: Forgery) -> Made:
    """The index is in order, the archive's member is not."""
    name = f"{forgery.top}/new"
    return [member(forgery.top, tarfile.DIRTYPE, 0o755), member(f"{forgery.outside}/new", size=4)], [
        ("d", 0o755, 0, forgery.top),
        ("f", 0o644, 4, name),
    ]


def dots(forgery: Forgery) -> Made:
    evil = f"{forgery.top}/../../outside/new"
    return [member(forgery.top, tarfile.DIRTYPE, 0o755), member(evil, size=4)], [
        ("d", 0o755, 0, forgery.top),
        ("f", 0o644, 4, evil),
    ]


def link_and_file_through_it(forgery: Forgery) -> Made:
    link = f"{forgery.top}/link"
    return [
        member(forgery.top, tarfile.DIRTYPE, 0o755),
        member(link, tarfile.SYMTYPE, 0o777, target=str(forgery.outside)),
        member(f"{link}/new", size=4),
    ], [("d", 0o755, 0, forgery.top), ("d", 0o755, 0, link), ("f", 0o644, 4, f"{link}/new")]


def link_and_file_through_it_by_the_index(forgery: Forgery) -> Made:
    members, records = link_and_file_through_it(forgery)
    return members, [records[0], ("l", 0o777, len(str(forgery.outside)), records[1][3]), records[2]]


def relative_link_and_file_through_it(forgery: Forgery) -> Made:
    members, records = link_and_file_through_it(forgery)
    members[1].linkname = os.path.relpath(forgery.outside, forgery.program.tree)
    return members, records


def link_in_place_of_the_tree(forgery: Forgery) -> Made:
    return [
        member(forgery.top, tarfile.SYMTYPE, 0o777, target=str(forgery.outside)),
        member(f"{forgery.top}/canary", size=4),
    ], [("d", 0o755, 0, forgery.top), ("f", 0o644, 4, f"{forgery.top}/canary")]


def hard_link_to_outside(forgery: Forgery) -> Made:
    """A name for a foreign file, and then content for that name."""
    name = f"{forgery.top}/name"
    return [
        member(forgery.top, tarfile.DIRTYPE, 0o755),
        member(name, tarfile.LNKTYPE, target=f"{forgery.outside}/canary"),
        member(name, size=4),
    ], [("d", 0o755, 0, forgery.top), ("f", 0o644, 4, name)]


def device_instead_of_a_file(forgery: Forgery) -> Made:
    name = f"{forgery.top}/null"
    return [member(forgery.top, tarfile.DIRTYPE, 0o755), member(name, tarfile.CHRTYPE, 0o666)], [
        ("d", 0o755, 0, forgery.top),
        ("f", 0o666, 0, name),
    ]


def setuid_that_the_index_does_not_know(forgery: Forgery) -> Made:
    name = f"{forgery.top}/tool"
    return [member(forgery.top, tarfile.DIRTYPE, 0o755), member(name, mode=0o4755, size=4)], [
        ("d", 0o755, 0, forgery.top),
        ("f", 0o755, 4, name),
    ]


def more_than_the_index_says(forgery: Forgery) -> Made:
    return [member(forgery.top, tarfile.DIRTYPE, 0o755), member(f"{forgery.top}/more", size=4)], [
        ("d", 0o755, 0, forgery.top)
    ]


def a_path_that_is_not_the_jobs(forgery: Forgery) -> Made:
    evil = str(forgery.outside / "new").lstrip("/")
    return [member(evil, size=4), member(forgery.top, tarfile.DIRTYPE, 0o755)], [
        ("d", 0o755, 0, forgery.top),
        ("f", 0o644, 4, evil),
    ]


FORGERIES = (
    absolute_path,
    absolute_member,
    dots,
    link_and_file_through_it,
    link_and_file_through_it_by_the_index,
    relative_link_and_file_through_it,
    link_in_place_of_the_tree,
    hard_link_to_outside,
    device_instead_of_a_file,
    setuid_that_the_index_does_not_know,
    a_path_that_is_not_the_jobs,
)
STAYS_BELOW = (setuid_that_the_index_does_not_know, a_path_that_is_not_the_jobs)
"""What may be restored below a directory, since it stays there."""


@pytest.mark.parametrize("make", FORGERIES)
def test_nothing_is_written_elsewhere(forgery: Forgery, make: Callable[[Forgery], Made]) -> None:
    program, target = forgery.program, forgery.program.place / "target"
    outside, inside = describe(forgery.outside), describe(program.tree)
    forgery.forge(*make(forgery))
    for ways, codes in (
        (("--in-place", "--yes"), (65, 74)),
        (("--to", str(target)), (0,) if make in STAYS_BELOW else (65, 74)),
    ):
        done = program.call("restore", f"files/{forgery.backup}", *ways)
        assert done.returncode in codes, done.stderr
        assert "Traceback" not in done.stderr
        assert describe(forgery.outside) == outside
        assert describe(program.tree) == inside
        assert holders(program.place) == []


def test_what_only_the_archive_has_is_not_restored(forgery: Forgery) -> None:
    program = forgery.program
    forgery.forge(*more_than_the_index_says(forgery))
    program.ok("restore", f"files/{forgery.backup}", "--in-place", "--yes")
    assert list(program.tree.iterdir()) == []
    program.ok("undo", "files", "--yes")
    assert (program.tree / "file").read_text() == "as it is"


@pytest.mark.parametrize("root", ["/etc/../outside", "outside", "", "/"])
def test_roots_that_are_no_paths(forgery: Forgery, root: str) -> None:
    program = forgery.program
    path = program.backups / "files" / forgery.backup / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["roots"][0]["path"] = root
    path.write_text(json.dumps(manifest))
    inside = describe(program.tree)
    done = program.call("restore", f"files/{forgery.backup}", "--in-place")
    assert done.returncode in (1, 65), done.stderr
    assert "Traceback" not in done.stderr
    assert describe(program.tree) == inside


def test_a_kept_mode_is_the_indexs(forgery: Forgery) -> None:
    """A backup may hold devices and setuid programs, where the index says so."""
    name, device = f"{forgery.top}/tool", f"{forgery.top}/device"
    forgery.forge(
        [
            member(forgery.top, tarfile.DIRTYPE, 0o755),
            member(device, tarfile.CHRTYPE, 0o600),
            member(name, mode=0o4755, size=4),
        ],
        [("d", 0o755, 0, forgery.top), ("c", 0o600, 0, device), ("f", 0o4755, 4, name)],
    )
    forgery.program.ok("restore", f"files/{forgery.backup}", "--in-place", "--yes")
    assert (forgery.program.tree / "tool").stat().st_mode & stat.S_ISUID
    assert (forgery.program.tree / "device").stat().st_rdev == os.makedev(1, 3)


def test_a_mount_whose_name_would_break_a_line(forgery: Forgery) -> None:
    """The kernel escapes blanks and line feeds in it, and nothing else."""
    odd = forgery.program.tree / "a\rb\x0bc\u2028d\n e - f"
    odd.mkdir()
    with small_disk(odd, "32k"):
        backup = forgery.program.run()
        manifest = json.loads((forgery.program.backups / "files" / backup / "manifest.json").read_text())
    assert manifest["roots"][0]["mounts"] == [str(odd)]

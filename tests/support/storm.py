"""A tree in a storm, and descriptions of trees to compare.

Run as a program (`storm.py TREE SEED`) it makes a small tree and then changes it for ever, in every way that a tree can
change: contents, renames, swaps, links, types, modes, attributes, holes, writes through memory maps.
"""

import contextlib
import ctypes
import hashlib
import mmap
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


SECRET = "secret"
"""A tree beside the one in the storm, which has the same names in it as that; whoever made it, made it for nobody."""
TELLTALE = b"what nobody may read"


def hide_a_secret(tree: Path) -> None:
    """Make that tree."""
    for folder in ("", "g0/p0/d0", "p0/d0", "d0", "d1"):
        place = tree.parent / SECRET / folder
        place.mkdir(parents=True, exist_ok=True)
        for name in ("x0", "x1", "x2", "link"):
            (place / name).write_bytes(TELLTALE * 150)
            os.utime(place / name, (10**9, 10**9))


def exchange(one: Path, two: Path) -> None:
    """Let two names change places in one step, by renameat2(2)."""
    if _LIBC.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(two), _RENAME_EXCHANGE) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def change_places(one: Path, two: Path, aside: Path) -> None:
    """Let two names change places, in three steps."""
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


# ---- the storm -------------------------------------------------------------------------------------------------


class Storm:
    """Changes to a tree of bounded size, each chosen by a seeded generator."""

    def __init__(self, tree: Path, seed: int) -> None:
        self._tree = tree
        self._chooser = random.Random(seed)
        self._number = 0
        self._maps: list[mmap.mmap] = []
        self._mapped: set[int] = set()
        self._busy = tree / "busy"
        self._quiet = tree / "quiet"
        self._twins = tree / "twins"
        self._make_quiet()
        self._make_twins()
        self._changes: list[Callable[[], None]] = [
            *([self.swap_quiet] * 6),
            *([self.move_quiet] * 3),
            *([self.exchange_twins] * 8),
            *([self.swap_twins] * 4),
            *([self.touch_twin] * 8),
            *([self.write] * 6),
            *([self.append] * 3),
            *([self.rename] * 4),
            *([self.link] * 3),
            *([self.remove] * 2),
            *([self.swap] * 4),
            *([self.lead_elsewhere] * 3),
            self.make_directory,
            self.remove_tree,
            self.flip,
            self.symlink,
            self.chmod,
            self.attribute,
            self.hole,
            self.map,
            *([self.write_mapped] * 4),
            self.fifo,
            self.touch_back,
        ]

    def change(self) -> None:
        """One change; what another change made impossible is passed over."""
        with contextlib.suppress(OSError, IndexError, ValueError):  # it is gone, there is none, it cannot be mapped
            self._chooser.choice(self._changes)()

    def _make_quiet(self) -> None:
        """Directories that only move, with files that never change and hard links between them."""
        self._busy.mkdir()
        self._quiet.mkdir()
        for number in range(8):
            directory = self._quiet / f"d{number}"
            directory.mkdir()
            for file in range(4):
                (directory / f"x{file}").write_bytes(self._chooser.randbytes(3_000))
            if number:
                os.link(self._quiet / f"d{number - 1}" / "x0", directory / "link")

    def _make_twins(self) -> None:
        """Directories whose files differ in content and inode alone, as `cp -p` leaves them, and releases by rsync."""
        for number in range(12):
            directory = self._twins / f"g{number // 4}" / f"p{number // 2 % 2}" / f"d{number % 2}"
            directory.mkdir(parents=True)
            for file in range(3):
                (directory / f"x{file}").write_bytes(self._chooser.randbytes(3_000))
                os.utime(directory / f"x{file}", (10**9, 10**9))

    def _two_twins(self) -> list[Path]:
        return self._chooser.sample(sorted(self._twins.glob(self._chooser.choice(["*", "*/*", "*/*/*"]))), 2)

    def exchange_twins(self) -> None:
        """Two of them, or two that have some below them, change places in one step, and mostly back."""
        one, two = self._two_twins()
        for _ in range(self._chooser.choice([1, 2, 2, 2])):
            exchange(one, two)
            time.sleep(0.0005)

    def swap_twins(self) -> None:
        one, two = self._two_twins()
        for _ in range(self._chooser.choice([1, 2, 2, 2])):
            change_places(one, two, self._tree / "aside")
            time.sleep(0.0005)

    def touch_twin(self) -> None:
        """So that it is archived again, although nothing but its ctime differs."""
        path = self._chooser.choice(sorted(self._twins.glob("*/*/*/x*")))
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))

    def swap_quiet(self) -> None:
        """Two names change places, and often back: what lies below keeps its inodes and times."""
        one, two = self._chooser.sample(sorted(self._quiet.iterdir()), 2)
        for _ in range(self._chooser.choice([1, 2, 2])):
            change_places(one, two, self._tree / "aside")
            time.sleep(0.0005)

    def move_quiet(self) -> None:
        self._number += 1
        self._chooser.choice(sorted(self._quiet.iterdir())).rename(self._quiet / f"d{self._number}")

    def _new(self) -> Path:
        self._number += 1
        odd = self._chooser.choice(["", " ", "\n", "\\", "*", " -> ", "\udcff", "ä"])
        return self._directory() / f"n{odd}{self._number}"

    def _every(self, wanted: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
        found, todo = [], [str(self._busy)]
        while todo:
            with os.scandir(todo.pop()) as entries:
                for entry in sorted(entries, key=lambda each: each.name):
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    if wanted(entry):
                        found.append(Path(entry.path))
        return found

    def _any(self) -> Path:
        return self._chooser.choice(self._every(lambda _: True))

    def _file(self) -> Path:
        return self._chooser.choice(self._every(lambda entry: entry.is_file(follow_symlinks=False)))

    def _directory(self) -> Path:
        inner = self._every(lambda entry: entry.is_dir(follow_symlinks=False))
        return self._chooser.choice([self._busy, *inner])

    def write(self) -> None:
        path = self._new() if self._number < 80 or self._chooser.random() < 0.3 else self._file()
        if path.exists() and path.stat().st_ino in self._mapped:
            return  # to write into a page that was cut off is SIGBUS
        path.write_bytes(self._chooser.randbytes(self._chooser.choice([0, 1, 100, 5_000, 70_000])))

    def append(self) -> None:
        with self._file().open("ab") as file:
            file.write(self._chooser.randbytes(50))

    def rename(self) -> None:
        source = self._any()
        target = self._any() if self._chooser.random() < 0.3 else self._new()
        source.rename(target)

    def swap(self) -> None:
        one, two = self._directory(), self._directory()
        if one == two or self._busy in (one, two) or one in two.parents or two in one.parents:
            return
        change_places(one, two, self._tree / "aside")

    def lead_elsewhere(self) -> None:
        """A link takes the place of a directory, to another one or to what is nobody's business, and goes again."""
        place = self._chooser.choice([self._directory(), *self._quiet.iterdir(), *self._twins.glob("*/*")])
        if place == self._busy:
            return
        target = self._chooser.choice(
            [self._directory(), self._tree.parent / SECRET, self._chooser.choice(self._two_twins())]
        )
        aside = self._tree / "aside"
        place.rename(aside)
        place.symlink_to(target)
        time.sleep(0.001)
        place.unlink()
        aside.rename(place)

    def link(self) -> None:
        os.link(self._file(), self._new())

    def remove(self) -> None:
        if self._number > 60:
            self._file().unlink()

    def make_directory(self) -> None:
        self._new().mkdir()

    def remove_tree(self) -> None:
        directory = self._directory()
        if directory != self._busy and self._number > 60:
            shutil.rmtree(directory, ignore_errors=True)

    def flip(self) -> None:
        path = self._any()
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            path.write_text("was a directory")
        else:
            path.unlink()
            path.mkdir()

    def symlink(self) -> None:
        self._new().symlink_to(self._chooser.choice(["/etc/passwd", "..", "nowhere", str(self._any())]))

    def chmod(self) -> None:
        path = self._any()
        if not path.is_symlink():
            path.chmod(self._chooser.choice([0o600, 0o644, 0o755, 0o4755, 0o1777, 0o700]))
        os.chown(path, self._chooser.choice([0, 1, 1000]), self._chooser.choice([0, 1, 1000]), follow_symlinks=False)

    def attribute(self) -> None:
        os.setxattr(self._file(), "user.storm", self._chooser.randbytes(8))

    def hole(self) -> None:
        with self._new().open("wb") as file:
            file.seek(self._chooser.randrange(1, 300_000))
            file.write(b"end")

    def map(self) -> None:
        with self._file().open("r+b") as file:
            if len(self._maps) > 4:
                self._maps.pop(0).close()
            self._maps.append(mmap.mmap(file.fileno(), 0))
            self._mapped.add(os.fstat(file.fileno()).st_ino)

    def write_mapped(self) -> None:
        view = self._chooser.choice(self._maps) if self._maps else None
        if view is not None:
            view[self._chooser.randrange(len(view))] = self._chooser.randrange(256)

    def fifo(self) -> None:
        os.mkfifo(self._new())

    def touch_back(self) -> None:
        os.utime(self._any(), ns=(10**18, 10**18 + self._chooser.randrange(10**9)), follow_symlinks=False)


class Blowing:
    """The storm as a process of its own, which can be held still as a stopped container is."""

    def __init__(self, tree: Path, seed: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(tree), str(seed)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def hold(self) -> None:
        """Stop it between two system calls, and see it stopped."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextlib.contextmanager
def blowing(tree: Path, seed: int) -> Iterator[Blowing]:
    """A storm over `tree` for the block."""
    storm = Blowing(tree, seed)
    try:
        yield storm
    finally:
        storm.end()


# ---- descriptions ----------------------------------------------------------------------------------------------


def describe(tree: Path) -> dict[str, tuple[object, ...]]:
    """All that a restore must bring back of each path: type, mode, owner, times, content, links, attributes."""
    names: dict[tuple[int, int], str] = {}
    found: dict[str, tuple[object, ...]] = {}
    # not rglob: it follows links to see whether they lead to directories, and one may be longer than a path can be
    walked = (Path(folder) / name for folder, folders, files in os.walk(tree) for name in (*folders, *files))
    for path in [tree, *sorted(walked)]:
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        name = str(path.relative_to(tree))
        content: object = ""
        if kind == stat.S_IFREG:
            content = (status.st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        elif kind == stat.S_IFLNK:
            content = os.readlink(path)
        first = name
        if kind != stat.S_IFDIR:
            first = names.setdefault((status.st_dev, status.st_ino), name)
        attributes = tuple(
            (key, os.getxattr(path, key, follow_symlinks=False))
            for key in sorted(os.listxattr(path, follow_symlinks=False))
        )
        found[name] = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content, first, attributes)
    return found


def main() -> None:
    storm = Storm(Path(sys.argv[1]), int(sys.argv[2]))
    for _ in range(150):
        storm.change()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        storm.change()


if __name__ == "__main__":
    main()

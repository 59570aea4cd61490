"""Somebody who may write where root works: at a moment of the program he renames, links and exchanges what he can.

The moments are those before each act of the program on a file system, which Python tells of (PEP 578), so that there is
no race to be won by luck: `Moments` lets a process of the attacker's own do its worst at one of them, and the program
goes on when it has ended. `Victim` is what nobody but root may change.
"""

import ctypes
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from tests.support.storm import describe

ANNA = 12345
"""Who has the files that are restored, and the directory they are in."""
_EXCHANGE = 2
_AT_FDCWD = -100
ASIDE, FAKE = ".mine", ".fake"
Become = Callable[[], None]
"""How an attacker becomes who he is, in a process of his own."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_ACTS = frozenset(
    {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.symlink", "os.chmod", "os.chown", "os.utime"}
    | {"os.setxattr", "os.removexattr", "os.scandir", "os.listdir", "os.chdir", "shutil.rmtree"}
    | {"open", "subprocess.Popen", "ctypes.call_function"}
)
_ELSEWHERE = ("/usr/", "/etc/", "/proc/", "/sys/", "/dev/", "/lib", "/var/cache/")


class Victim:
    """A directory with secrets, and one that all may read; nobody but root may change anything in it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._make()

    def repair(self) -> None:
        """Make it anew."""
        shutil.rmtree(self.place)
        self._make()

    def _make(self) -> None:
        place = self.place
        for name, mode in (("", 0o755), ("secret", 0o700), ("public", 0o755), ("public/inner", 0o751)):
            (place / name).mkdir()
            (place / name).chmod(mode)
        for name, mode, uid in (
            ("secret/shadow", 0o600, 0),
            ("public/tool", 0o4755, 0),
            ("public/inner/file", 0o640, 1),
            ("public/word", 0o644, 0),
        ):
            (place / name).write_text(f"the victim's {name}")
            os.chown(place / name, uid, uid)
            (place / name).chmod(mode)
            os.setxattr(place / name, "trusted.word", b"value")
        for each in sorted(place.rglob("*"), reverse=True):
            os.utime(each, (10**9, 10**9))
        os.utime(place, (10**9, 10**9))
        self._was = describe(place)

    def check(self) -> None:
        """See that nothing of it has changed: neither content nor owner, mode, time, attributes and names."""
        assert describe(self.place) == self._was


# ---- what an attacker does with a path -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attack:
    """What is done to the paths that `find` has at the moment; `form` is one of FORMS."""

    form: str
    role: str
    find: Callable[[], Sequence[Path]]
    lead: Path
    """Where his links lead to."""

    def __str__(self) -> str:
        return f"{self.form} {self.role}"

    def go(self, log: Path) -> None:
        """Do it as far as it can be done; what was moved is written down, for `put_back`."""
        for path in self.find():
            with suppress(OSError):
                FORMS[self.form](path, self.lead)
            if os.path.lexists(aside(path)):
                with log.open("a") as file:
                    file.write(json.dumps(str(path)) + "\n")


def aside(path: Path) -> Path:
    """Where what was at `path` is by now."""
    return path.with_name(path.name + ASIDE)


def put_back(log: Path) -> None:
    """Undo what attackers wrote down, the last first."""
    lines = log.read_text().splitlines() if log.exists() else []
    for line in reversed(lines):
        path = Path(json.loads(line))
        with suppress(OSError):
            if os.path.lexists(aside(path)):
                if os.path.lexists(path):
                    path.rename(path.with_name(path.name + FAKE))
                aside(path).rename(path)


def _gone(path: Path, _lead: Path) -> None:
    path.rename(aside(path))


def _link(path: Path, lead: Path) -> None:
    path.rename(aside(path))
    path.symlink_to(lead)


def _file_link(path: Path, lead: Path) -> None:
    path.rename(aside(path))
    path.symlink_to(lead / "word")


def _file(path: Path, _lead: Path) -> None:
    path.rename(aside(path))
    path.write_text("* * * * * root id")


def _fifo(path: Path, _lead: Path) -> None:
    path.rename(aside(path))
    os.mkfifo(path)


def _hard_link(path: Path, _lead: Path) -> None:
    """Of a file that is another's; where the kernel forbids that, he has had it for long."""
    path.rename(aside(path))
    (path.parent / ".hard").rename(path)


def _directory(path: Path, lead: Path) -> None:
    """One that looks as the other one did, with links for what is in it."""
    names = ["new", "old", "roots"]
    with suppress(OSError):
        names += os.listdir(path)
    path.rename(aside(path))
    path.mkdir()
    for name in dict.fromkeys(names):
        (path / name).symlink_to(lead)


def _hollow(path: Path, _lead: Path) -> None:
    """An empty one."""
    path.rename(aside(path))
    path.mkdir()


def _exchange(path: Path, lead: Path) -> None:
    aside(path).symlink_to(lead)
    names = os.fsencode(path), os.fsencode(aside(path))
    if _LIBC.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE):
        aside(path).unlink()
        raise OSError(ctypes.get_errno(), "renameat2")


FORMS: dict[str, Callable[[Path, Path], None]] = {
    "gone": _gone,
    "link": _link,
    "link to a file": _file_link,
    "file": _file,
    "fifo": _fifo,
    "hard link": _hard_link,
    "directory": _directory,
    "hollow": _hollow,
    "exchange": _exchange,
}


# ---- when he does it -------------------------------------------------------------------------------------------------


@dataclass
class Moments:
    """Given to the forked program before it begins: at its act number `at`, `attack` is let loose.

    `back` acts later he puts everything back, if it is not 0. What the acts were is written to `acts`.
    """

    acts: Path
    log: Path
    ignored: tuple[str, ...] = ()
    at: int = 0
    attack: Attack | None = None
    back: int = 0
    become: Become | None = None
    _seen: int = field(default=0, init=False)

    def __call__(self) -> None:
        """Begin to count. It is called in the program's process."""
        self._out = open(self.acts, "w", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115 - as long as it lives
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if event not in _ACTS or self._out.closed:
            return
        name = arguments[0] if arguments else ""
        text = os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else str(name)
        if text.startswith((*_ELSEWHERE, *self.ignored)) or text.endswith((".py", ".pyc", ".so")):
            return
        self._seen += 1
        if self.attack is None:
            self._out.write(f"{event} {arguments!r}\n")
            self._out.flush()
        elif self._seen == self.at:
            self._let_loose(lambda: self.attack.go(self.log) if self.attack else None)
        elif self.back and self._seen == self.at + self.back:
            self._let_loose(lambda: put_back(self.log))

    def _let_loose(self, do: Callable[[], None]) -> None:
        child = os.fork()
        if not child:
            _be(self.become or become_anna, do)
        os.waitpid(child, 0)


def _be(become: Callable[[], None], do: Callable[[], None]) -> NoReturn:
    try:
        become()
        do()
    finally:
        os._exit(0)


def become_anna() -> None:
    """A user without any right of root's."""
    os.umask(0o022)
    os.setgroups([])
    os.setresgid(ANNA, ANNA, ANNA)
    os.setresuid(ANNA, ANNA, ANNA)


def enter(pid: int) -> Become:
    """How to become root in a container, whose main process has this pid."""

    def become() -> None:
        descriptor = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
        if _LIBC.setns(descriptor, 0):
            raise OSError(ctypes.get_errno(), "setns")

    return become


def foreign(place: Path) -> list[str]:
    """What somebody else than root has in a directory of root's."""
    return [
        path.name for path in place.iterdir() if path.lstat().st_uid != 0 and not stat.S_ISLNK(path.lstat().st_mode)
    ]

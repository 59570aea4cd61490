"""A disk with a tree of somebody's, a backup of it, and what is attacked when that comes back."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hiveden_backup.core.restore_record import HOLDER_PREFIX
from tests.support.attacker import ANNA, ASIDE, FAKE, Attack, Become, Moments, Victim, become_anna, foreign
from tests.support.job import Done, Site, site

THEN, NOW = "then", "now"
HONEST = frozenset({0, 1, 2, 65, 66, 69, 73, 74, 75, 77})
"""With what the program may end."""


@dataclass
class Bed:
    """The tree is `home`/parent/docs, and all of that is hers; nothing of `victim` ever changes."""

    site: Site
    disk: Path
    victim: Victim
    backup: str = ""

    @property
    def home(self) -> Path:
        return self.disk / "home/anna"

    @property
    def parent(self) -> Path:
        return self.home / "parent"

    @property
    def live(self) -> Path:
        return self.parent / "docs"

    @property
    def target(self) -> Path:
        """For `restore --to`."""
        return self.home / "back/out"

    def put(self, word: str) -> None:
        """The tree as it is then or now; what an attack and a restore left goes."""
        shutil.rmtree(self.disk / "home", ignore_errors=True)
        for each in self.disk.glob(f"{HOLDER_PREFIX}*"):
            shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
        for name in ("undo", "runs"):  # records read by the next command would make its acts more
            shutil.rmtree(self.site.state / name, ignore_errors=True)
        for path in (self.live / "inner/deep", self.live / "cache", self.live / "inner/cache"):
            path.mkdir(parents=True)
            (path / "file").write_text(word)
        (self.live / "word").write_text(word)
        (self.live / "inner" / word).write_text(word)
        self.target.parent.mkdir()
        for place in (self.home, self.parent, self.target.parent):
            os.link(self.victim.place / "public/word", place / ".hard")
        for path in (self.home, *self.home.rglob("*")):
            if path.name != ".hard":
                os.chown(path, ANNA, ANNA)
        self.log.unlink(missing_ok=True)

    @property
    def log(self) -> Path:
        """What attackers write down."""
        return self.disk / "log/log"

    def shows(self, tree: Path | None = None) -> str:
        """Which state a tree shows, hers if none is given."""
        top = tree or self.live
        words = {(top / "word").read_text(), (top / "inner/deep/file").read_text()}
        words |= {name for name in (THEN, NOW) if (top / "inner" / name).exists()}
        assert len(words) == 1, f"a mixture of {words}"
        return words.pop()

    # ---- what is attacked

    def attack(self, form: str, role: str) -> Attack:
        """One of FORMS, done to what plays a role."""
        return Attack(form, role, lambda: ROLES[role](self), self.victim.place / "public")

    def _moments(self, **more: object) -> Moments:
        ignored = str(self.site.path), str(self.log.parent), f"{tempfile.gettempdir()}/tmp"
        return Moments(self.site.path / "acts", self.log, ignored, **more)  # type: ignore[arg-type] # its own fields

    def count(self, *command: str) -> int:
        """How many acts a command has, before each of which it can be attacked."""
        moments = self._moments()
        self.site.run(*command, before=moments)
        return len(moments.acts.read_text(errors="surrogateescape").splitlines())

    def attacked(self, *command: str, at: int, attack: Attack, back: int = 0, become: Become = become_anna) -> Done:
        """Run a command with an attack before its act number `at`; see that the victim is as it was."""
        done = self.site.run(*command, before=self._moments(at=at, attack=attack, back=back, become=become))
        self.check(done)
        return done

    def check(self, done: Done) -> None:
        """See that a command ended in an honest way, and nothing was steered."""
        assert "Traceback" not in done.err, done.err
        assert "defect" not in done.err, done.err
        assert done.code in HONEST, (done.code, done.err)
        self.victim.check()
        if self.disk.stat().st_uid == 0:
            assert foreign(self.disk) == []


def _ours(name: str) -> bool:
    return name.startswith(HOLDER_PREFIX) and not name.endswith((ASIDE, FAKE))


def _holders(bed: Bed) -> list[Path]:
    places = [place for place in (bed.parent, bed.home, bed.disk) if place.is_dir()]
    return [place / name for place in places for name in os.listdir(place) if _ours(name)]


ROLES: dict[str, Callable[[Bed], Sequence[Path]]] = {
    "holder": _holders,
    "inside of the holder": lambda bed: [each / name for each in _holders(bed) for name in ("new", "old", "roots")],
    "home": lambda bed: [bed.home],
    "parent": lambda bed: [bed.parent],
    "live": lambda bed: [bed.live],
    "inner": lambda bed: [bed.live / "inner"],
    "carried": lambda bed: [bed.live / "inner/cache", bed.live / "cache"],
    "target": lambda bed: [bed.target],
    "above target": lambda bed: [bed.target.parent],
}
"""What is attacked."""
TARGETS = ("target", "above target", "home")
IN_PLACE = tuple(role for role in ROLES if "target" not in role)


@contextlib.contextmanager
def attacked_bed(owner: int, docker: str | None = None) -> Iterator[Bed]:
    """On a disk whose top belongs to `owner`."""
    place = Path(tempfile.mkdtemp(prefix="hb-attacked-"))  # all may enter it, which no tmp_path lets them
    place.chmod(0o755)
    disk = place / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64M,mode=755", "tmpfs", str(disk)], check=True)
    try:
        with site(place / "site", docker) as made:
            os.chown(disk, owner, owner)
            (disk / "log").mkdir()
            (disk / "log").chmod(0o1777)
            bed = Bed(made, disk, Victim(disk / "outside"))
            made.configure({"app": {"paths": [str(bed.live)], "exclude": ["**/cache"]}})
            made.init()
            bed.put(THEN)
            bed.backup = made.run("run", "app").succeeded().out.strip()
            yield bed
    finally:
        subprocess.run(["umount", str(disk)], check=True)
        shutil.rmtree(place)

"""An in-place restore, its undo and its end, while she who owns what is above the files renames, links and exchanges.

The program stands still at a fail point, and an unprivileged process does what it likes. Nothing but the target and
what the program made beside it may change: no content, no owner, no mode.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.disks import own_disk
from tests.support.job import Done, Site, site, stands_still
from tests.support.storm import describe

ANNA = 12345
UNDO = ".hiveden-backup-undo-*"


@dataclass(frozen=True)
class Home:
    """Anna's directory, with a root's directory in it that she may rename, and no more; the tree is data/docs."""

    site: Site
    place: Path
    backup: str

    @property
    def docs(self) -> Path:
        return self.place / "data/docs"

    @property
    def roots(self) -> Path:
        return self.place / "roots"

    def holder(self) -> Path:
        (found,) = (each for top in (self.place, self.docs.parent, self.place.parent) for each in top.glob(UNDO))
        return found

    def anna(self, script: str, *, beside: bool = False) -> None:
        """Let her do something in her directory, or `beside` the holder."""
        command = f"import os\nos.umask(0)\n{script}"
        done = subprocess.run(
            ["setpriv", f"--reuid={ANNA}", f"--regid={ANNA}", "--clear-groups", "/usr/bin/python3", "-c", command],
            cwd=self.holder().parent if beside else self.place,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def at(self, failpoint: str, *command: str, do: Callable[[], None]) -> Done:
        """Run a command, and do something while it stands still."""
        process = self.site.start(*command, failpoint=f"{failpoint}:hold")
        stands_still(process)
        try:
            do()
        finally:
            process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        return Done(process.returncode, out, err)

    def restore(self, failpoint: str, do: Callable[[], None]) -> Done:
        return self.at(failpoint, "restore", f"app/{self.backup}", "--in-place", "--yes", do=do)

    def record(self) -> Path:
        (found,) = self.site.state.glob("undo/app/*.json")
        return found


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    place = tmp_path / "home"
    place.mkdir()
    with own_disk(place), site(tmp_path / "site") as made:
        docs = place / "data/docs"
        docs.mkdir(parents=True)
        (docs / "word").write_text("then")
        for path in (place, docs.parent, docs, docs / "word"):
            os.chown(path, ANNA, ANNA)
        roots = place / "roots"
        (roots / "docs").mkdir(parents=True)
        (roots / "docs/secret").write_text("of root")
        (roots / "docs/secret").chmod(0o600)
        roots.chmod(0o700)
        made.configure({"app": {"paths": [str(docs)]}})
        backup = made.init().run("run", "app").succeeded().out.strip()
        (docs / "word").write_text("now")
        yield Home(made, place, backup)


FAKE = """
holder = [name for name in os.listdir('.') if name.startswith('.hiveden-backup-undo-')][0]
os.rename(holder, 'taken')
os.makedirs(holder + '/new{docs}')
os.makedirs(holder + '/roots')
open(holder + '/new{docs}/word', 'w').write('forged')
os.symlink('{victim}', holder + '/old')
"""
"""Her own in place of the holder, from which things go to where only root may write."""


@pytest.mark.parametrize("failpoint", ["stage@1", "stage@2", "commit", "swap@1", "swap@2"])
def test_a_holder_that_was_exchanged_steers_nothing(home: Home, failpoint: str) -> None:
    victim = home.place / "victim"  # on the same disk, and root's
    victim.mkdir()
    before = describe(victim)
    done = home.restore(failpoint, lambda: home.anna(FAKE.format(docs=home.docs, victim=victim), beside=True))
    assert describe(victim) == before
    held = failpoint.startswith("swap")  # by then it is open, and goes on in the one that is meant
    assert done.code == (0 if held else 74), done.err
    assert (home.docs / "word").read_text() == ("then" if held else "now")
    if not held:
        assert "is not the directory that it was" in done.err
    assert home.site.run("undo", "app", "--yes").code == (66 if failpoint.startswith("stage") else 74)
    fake = home.holder()
    shutil.rmtree(fake)
    (fake.parent / "taken").rename(fake)  # now it goes on
    home.site.run(*("undo", "app", "--yes") if held else ("recover",)).succeeded()
    assert (home.docs / "word").read_text() == "now"
    assert bool(list(home.place.rglob(UNDO))) != failpoint.startswith("stage")
    assert describe(victim) == before


@pytest.mark.parametrize("failpoint", ["stage@2", "commit", "swap@1"])
def test_a_parent_that_was_exchanged_is_not_worked_in(home: Home, failpoint: str) -> None:
    """What she may rename, she has root rename in: nothing of it changes, and all goes on when hers is back."""
    before = describe(home.roots)

    done = home.restore(failpoint, lambda: home.anna("os.rename('data', 'hers'); os.rename('roots', 'data')"))
    (home.place / "data").rename(home.roots)
    (home.place / "hers").rename(home.place / "data")
    assert describe(home.roots) == before
    assert done.code == 74, done.err
    assert "is not the directory that it was" in done.err or "is not there" in done.err  # the holder is in it
    home.site.run("recover").succeeded()
    assert (home.docs / "word").read_text() == "now"
    assert bool(list(home.place.rglob(UNDO))) != failpoint.startswith("stage")
    assert describe(home.roots) == before


def test_what_was_made_above_is_dressed_and_removed_itself_alone(home: Home) -> None:
    """A directory above the path is missing, and made: its owner is to be anna, but not that of what she puts there."""
    shutil.rmtree(home.place / "data")
    before = describe(home.roots)
    done = home.restore("stage@1", lambda: home.anna("os.rename('data', 'made'); os.rename('roots', 'data')"))
    (home.place / "data").rename(home.roots)
    assert describe(home.roots) == before
    assert done.code == 74, done.err


def test_the_end_removes_the_holder_alone(home: Home) -> None:
    """What she puts in its place stays, and the record tells of it, until the right one is back."""
    home.site.run("restore", f"app/{home.backup}", "--in-place", "--yes").succeeded()
    before = describe(home.roots)
    holder = home.holder()
    home.site.configure({"app": {"paths": [str(home.docs)], "undo_keep": "1us"}})
    home.anna(f"os.rename({holder.name!r}, 'taken'); os.symlink('/', {holder.name!r})", beside=True)
    assert "It is a symbolic link" in home.site.run("prune").err
    holder.unlink()
    home.roots.rename(holder)
    assert "is not the directory that it was" in home.site.run("prune").err
    holder.rename(home.roots)
    assert describe(home.roots) == before
    assert home.record().exists()
    (holder.parent / "taken").rename(holder)
    home.site.run("prune").succeeded()
    assert not holder.exists()
    assert not list(home.site.state.glob("undo/app/*.json"))


@pytest.mark.parametrize("part", ["old/0", "old", ""])
def test_an_undo_whose_holder_vanishes_does_not_say_reversed(home: Home, part: str) -> None:
    """Between the look and the first rename a person took it away: nothing came back, and it says so."""
    home.site.run("restore", f"app/{home.backup}", "--in-place", "--yes").succeeded()
    kept = home.place / "kept"
    place = home.holder() / part

    def vanish() -> None:
        shutil.copytree(place, kept)
        shutil.rmtree(place)

    done = home.at("undo@1", "undo", "app", "--yes", do=vanish)
    assert done.code == 74, done.err
    assert "half done" in done.err
    assert "Reversed" not in done.out + done.err
    assert (home.docs / "word").read_text() == "then"
    if part:  # a copy of the holder itself is another one
        kept.rename(place)
        home.site.run("recover").succeeded()
        assert (home.docs / "word").read_text() == "now"


@pytest.mark.parametrize("failpoint", ["commit@1:kill", "swap@2:kill"])
def test_records_of_older_versions_are_settled_and_undone(home: Home, failpoint: str) -> None:
    """They know of no directory what it is."""

    def forget() -> None:
        table = json.loads(home.record().read_text())
        table.pop("known", None)
        table.pop("boot", None)
        home.record().write_text(json.dumps(table))

    assert home.site.run("restore", f"app/{home.backup}", "--in-place", "--yes", failpoint=failpoint).code == -9
    forget()
    home.site.run("recover").succeeded()
    if failpoint.startswith("commit"):
        assert not list(home.place.rglob(UNDO))
        return
    assert (home.docs / "word").read_text() == "then"
    forget()
    home.site.run("undo", "app", "--yes").succeeded()
    assert (home.docs / "word").read_text() == "now"


def test_after_a_crash_while_the_holder_is_made_nothing_of_others_goes(home: Home) -> None:
    """The record does not know yet what it is: it removes what is empty, and leaves what is not."""
    before = describe(home.roots)
    assert home.site.run("restore", f"app/{home.backup}", "--in-place", "--yes", failpoint="stage@1:kill").code == -9
    table = json.loads(home.record().read_text())
    holder = home.holder()
    table["known"] = [each for each in table["known"] if each["path"] != str(holder)]
    home.record().write_text(json.dumps(table))
    holder.rename(home.place / "elsewhere")
    home.roots.rename(holder)
    home.site.run("recover").succeeded()
    holder.rename(home.roots)
    assert describe(home.roots) == before

"""Runs, restores and a verify of many files, against stock pipelines and peers, in turn."""

import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench.bed import Bed, Spent, spend
from tests.bench.peers import Peer
from tests.bench.results import OURS, Results, spaced

PIPELINE = "tar | zstd -T0; sync"
BACKWARDS = "zstd -d | tar; sync"
_TOO_YOUNG = 3  # seconds for which what was written is not trusted to be the same; a nightly run does not meet that
_NEXT_ID = 1  # seconds that a run waits for when another one began in the same
_KILLED_AT = 0.6


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of a bench: how many, how large together, and how often each figure is taken."""

    count: int
    total: int
    rounds: int

    @property
    def name(self) -> str:
        size = f"{self.total / 1e9:.1f} GB" if self.total >= 10**8 else f"{self.total / 1e6:.0f} MB"
        return f"{spaced(self.count)} files, {size}"


def make_files(place: Path, count: int, total: int, seed: int = 1) -> None:
    """A tree like a photo library with its small files: sizes vary, half of the bytes compress."""
    chooser = random.Random(seed)
    mean = total // count
    for number in range(count):
        folder = place / f"d{number // 500:03d}" / f"e{number // 50 % 10}"
        if number % 50 == 0:
            folder.mkdir(parents=True, exist_ok=True)
        size = int(chooser.expovariate(1 / mean))
        noise = chooser.randbytes(size // 2)
        (folder / f"f{number:06d}.bin").write_bytes(noise + noise[::-1][:64] * (size // 128))


def change_files(place: Path, every: int) -> None:
    for number, path in enumerate(sorted(place.rglob("*.bin"))):
        if number % every == 0:
            with path.open("ab") as file:
                file.write(os.urandom(64))


class Files:
    """One tree, our program and the peers on it."""

    def __init__(
        self, place: Path, tree: Tree, peers: Callable[[Path, Path], Sequence[Peer]], results: Results
    ) -> None:
        self.place = place
        self.data = place / "data"
        self.tree = tree
        self.results = results
        self.bed = Bed(place)
        self.bed.configure(f'[jobs.bench]\npaths = ["{self.data}"]\n')
        make_files(self.data, tree.count, tree.total)
        self.peers = peers(place, self.data)

    def add(self, what: str, who: str, spent: Spent) -> None:
        self.results.add(f"{what} ({self.tree.name})", who, spent)

    def runs(self, *, firsts: bool) -> None:
        """First runs (if not, one that is not measured), then runs with nothing and with 1 % changed."""
        packed = f"tar -c -f - -C / {str(self.data).lstrip('/')} | zstd -q -T0 -3 > {self.place}/plain.tar.zst; sync"
        spend(["sh", "-c", packed])  # warms the page cache for everybody
        for number in range(self.tree.rounds):
            if firsts:
                self.add("first run", PIPELINE, spend(["sh", "-c", packed]))
            if firsts or number == 0:
                self._first(measured=firsts)
            time.sleep(_TOO_YOUNG)
            self.bed.program("run", "bench")
            time.sleep(_NEXT_ID)
            self._later("nothing changed")
            change_files(self.data, 100)
            self._later("1 % changed")

    def _first(self, *, measured: bool) -> None:
        self.bed.fresh()
        spent = {OURS: self.bed.spend("run", "bench")}
        for peer in self.peers:
            peer.fresh()
            spent[peer.name] = peer.spend(peer.backup())
        if measured:
            for who, what in spent.items():
                self.add("first run", who, what)

    def _later(self, what: str) -> None:
        self.add(what, OURS, self.bed.spend("run", "bench"))
        for peer in self.peers:
            self.add(what, peer.name, peer.spend(peer.backup()))

    def restores(self) -> None:
        """Everything, and one file, out of the newest backup; then all of it verified."""
        self.bed.fresh()
        self.bed.program("run", "bench")  # everything in the archives of one run, as the pipeline has it
        one = sorted(self.data.rglob("*.bin"))[self.tree.count // 2]
        flags = "-x -p --acls --xattrs --xattrs-include='*' --numeric-owner"
        stock = f"for each in {self.bed.backups}/bench/archives/*.zst; do zstd -q -dc $each | tar {flags}; done; sync"
        for _ in range(self.tree.rounds):
            self._restore(
                "restore of everything", BACKWARDS, lambda to: spend(["env", "-C", str(to), "sh", "-c", stock])
            )
            self._restore("restore of everything", OURS, self._restoring())
            self._restore("restore of one file", OURS, self._restoring("--only", str(one)))
            self.add("verify", OURS, self.bed.spend("verify", "bench/latest"))
            for peer in self.peers:
                self._restore("restore of everything", peer.name, partial(peer.spend, peer.restore))
                self._restore("restore of one file", peer.name, partial(peer.spend, peer.restore_one(one)))
                self.add("verify", peer.name, peer.spend(peer.verify))

    def _restoring(self, *more: str) -> Callable[[Path], Spent]:
        return lambda to: self.bed.spend("restore", "bench/latest", "--to", str(to), *more)

    def _restore(self, what: str, who: str, restore: Callable[[Path], Spent]) -> None:
        to = self.place / "restored"
        to.mkdir()
        self.add(what, who, restore(to))
        shutil.rmtree(to)

    def killed(self) -> None:
        """A first run that is killed, and how much of what it had read the next one reads again."""
        self.bed.fresh()
        total = sum(path.stat().st_size for path in self.data.rglob("*.bin"))
        before = self.bed.watch("run", "bench", kill_at=int(total * _KILLED_AT)).read
        after = self.bed.watch("run", "bench").read
        again = max(0, before + after - total)
        self.results.facts[f"first run killed at {before / 1e6:.0f} of {total / 1e6:.0f} MB"] = (
            f"{again / 1e6:.0f} MB are read again"
        )

    def memory(self) -> None:
        """The most memory that a run takes while it does."""
        self.bed.fresh()
        for what in ("first run", "nothing changed"):
            watched = self.bed.watch("run", "bench")
            self.results.facts[f"memory, {what} ({self.tree.name})"] = (
                f"{watched.own_peak >> 10} MiB of its own, {watched.tree_peak >> 10} MiB with tar and zstd"
            )
            time.sleep(_TOO_YOUNG)

"""What was sent to an offsite, without the program: the least that looks like a push, and ways to damage it."""

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hiveden_backup.core.config.values import Offsite
from hiveden_backup.core.offsite import layout, sums
from hiveden_backup.core.offsite.journal import Did, Line
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.state.key import this_key
from hiveden_backup.host.state.offsites import offsite_lock
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.visit import Visit
from tests.support.job import Site, site
from tests.support.offsite_places import Place

HOST = "host-01234567"
SLICE = 3000


@dataclass
class Sent:
    """An installation whose one backup was sent to a place, encrypted where its offsite has recipients."""

    home: Site
    place: Place
    visit: Visit

    def push(self) -> None:
        """What a push does, in short: slices, sums, and their lines in the journal."""
        visit, job = self.visit, "home"
        folder = self.home.backups / job
        (backup,) = visit.installation.directory.backups(job)
        manifest = visit.installation.directory.manifest(job, backup)
        for each in manifest.archives:
            content = (folder / each.path).read_bytes()
            pieces = [content[start : start + SLICE] for start in range(0, len(content), SLICE)]
            names = [layout.slice_object(each.path, number, encrypted=self.encrypted) for number in range(len(pieces))]
            told = sums.Content(each.path, each.bytes, each.sha256)
            found = tuple(self.put(name, piece) for name, piece in zip(names, pieces, strict=True))
            self.seal(
                layout.archive_sums(each.path),
                sums.ArchiveSums(told, found).dump(),
                plain_bytes=each.bytes,
                plain_sha256=each.sha256,
            )
        files = sorted(path for path in (folder / backup).iterdir() if not path.name.startswith("SHA256SUMS"))
        contents = tuple(
            sums.Content(path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in files
        )
        pieces_of_files = tuple(
            self.put(layout.file_object(f"{backup}/{path.name}", encrypted=self.encrypted), path.read_bytes())
            for path in files
        )
        needs = tuple(sums.Content(each.path, each.bytes, each.sha256) for each in manifest.archives)
        said = sums.BackupSums(job, backup, contents, needs, pieces_of_files).dump()
        weight = sum(each.bytes for each in contents)
        self.seal(layout.backup_sums(backup), said, plain_bytes=weight, needs=tuple(each.path for each in needs))

    def put(self, name: str, content: bytes, **facts: object) -> sums.Piece:
        """One object, unless the journal has it."""
        known = self.visit.there().objects.get(name)
        if known is not None:
            return sums.Piece(name.rpartition("/")[2], known.bytes, known.sha256)
        if name.endswith(".age"):
            recipients = [f"--recipient={each}" for each in self.visit.remote.offsite.recipients]
            content = subprocess.run(["age", *recipients], input=content, stdout=subprocess.PIPE, check=True).stdout
        digest = hashlib.sha256(content).hexdigest()
        self.place.put(f"{HOST}/home/{name}", content)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        line = replace(Line(datetime.now(UTC), Did.PUT, name, len(content), digest, md5), **facts)  # type: ignore[arg-type] # a few of its fields
        self.visit.offsites.note(self.visit.locked, "home", [line])
        return sums.Piece(name.rpartition("/")[2], len(content), digest)

    def seal(self, name: str, content: bytes, **facts: object) -> None:
        with this_key(self.home.state).signing(content) as signature:
            self.put(layout.signature_of(name), signature())
        self.put(name, content, **facts)

    def with_settings(self, **settings: Any) -> "Sent":
        """The same, as its offsite has other settings."""
        offsite = replace(self.visit.remote.offsite, **settings)
        return replace(self, visit=replace(self.visit, remote=Remote(offsite, self.home.state)))

    @property
    def encrypted(self) -> bool:
        return self.visit.remote.offsite.encrypt

    def object(self, suffix: str) -> str:
        """The one object whose name ends so, as it is called in the job's folder."""
        (found,) = [name for name in self.visit.there().objects if name.endswith(suffix)]
        return found

    def damage(self, name: str, content: bytes) -> None:
        self.place.put(f"{HOST}/home/{name}", content)

    def remove(self, name: str) -> None:
        self.place.remove(f"{HOST}/home/{name}")

    def evict(self) -> None:
        """As if the archives were elsewhere alone."""
        for path in (self.home.backups / "home/archives").iterdir():
            path.rename(path.with_name(f"{path.name}.offsite"))


Make = Callable[..., Sent]


@pytest.fixture
def sent_there(tmp_path: Path) -> Iterator[Make]:
    with site(tmp_path / "site") as home:
        home.configure({"home": {"paths": [str(home.data)]}})
        (home.data / "file").write_bytes(os.urandom(4000))
        home.init()
        home.run("run", "home").succeeded()
        installation = Installation(home.config, home.state, lambda: datetime.now(UTC))
        with offsite_lock(home.state, "there") as locked:

            def make(place: Place, **settings: Any) -> Sent:
                offsite = Offsite("there", place.remote, str(place.config), **{"encrypt": False, **settings})
                visit = Visit(installation, Remote(offsite, home.state), locked, HOST, "home")
                made = Sent(home, place, visit)
                made.push()
                return made

            yield make

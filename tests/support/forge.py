"""Backups as somebody makes them who can write to the backup directory: all is consistent, down to the last digest."""

import contextlib
import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.history import seal

Record = tuple[str, int, int, str]
"""Type, mode, size and path (relative to `/`) of a record of the index."""

TIME = 10**9


class Forgery:
    """The backup at `home` (DIRECTORY/JOB/ID), about to say something else. `manifest` is its table, to be changed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.manifest: dict[str, Any] = json.loads((home / "manifest.json").read_text())

    @property
    def files(self) -> dict[str, Any]:
        """The artifact of its files."""
        return self._artifact("application")

    @property
    def database(self) -> dict[str, Any]:
        """The artifact of its first database."""
        return self._artifact("database")

    def _artifact(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = next(each for each in self.manifest["artifacts"] if each["type"] == kind)
        return found

    def root(self, path: str) -> None:
        """One more top path."""
        self.manifest["roots"].append({**self.manifest["roots"][0], "path": path})
        self.files["sources"].append({"kind": "path", "name": path, "path": path})

    def tree(self, content: Mapping[str, bytes | None]) -> None:
        """Let these be its files: absolute paths and what they have, None for a directory."""
        members, records = [], []
        for path, data in content.items():
            name = path.lstrip("/")
            kind, mode = (tarfile.DIRTYPE, 0o755) if data is None else (tarfile.REGTYPE, 0o644)
            members.append((member(name, kind, mode, len(data or b"")), data or b""))
            records.append(("d" if data is None else "f", mode, len(data or b""), name))
        members.sort(key=lambda each: os.fsencode(each[0].name))
        self.archive(members, records)

    def archive(self, members: Sequence[tuple[tarfile.TarInfo, bytes]], records: Sequence[Record]) -> None:
        """Let it have one archive with these members, and an index with these records."""
        self.sequence([(members, records)])

    def sequence(self, parts: Sequence[tuple[Sequence[tuple[tarfile.TarInfo, bytes]], Sequence[Record]]]) -> None:
        """Let it have as many archives, each with its members, and an index with the records of all of them."""
        first, *_ = self.manifest["archives"]
        made, lines = [], []
        for number, (members, records) in enumerate(parts):
            path = first["path"] if not number else f"archives/{self.home.name}.hot-{number + 1}.tar.zst"
            packed = compressed(packed_members(members))
            place = self.home.parent / path
            place.unlink(missing_ok=True)  # other backups that name it, on a disk with links, keep theirs
            place.write_bytes(packed)
            made.append({**first, "path": path, "bytes": len(packed), "sha256": hashlib.sha256(packed).hexdigest()})
            for kind, mode, size, name in records:
                lines.append((os.fsencode(name), f"{number}\t{kind}\t{mode:o}", kind, size, name))
        self.manifest["archives"] = made
        (self.home / "files.archives").write_text("".join(f"{each['path']}\n" for each in made))
        time, index = f"{TIME}000000000", []
        for number, (_, begin, kind, size, path) in enumerate(sorted(lines)):
            index.append(f"{begin}\t0\t0\t{0 if kind == 'd' else 1}\t{size}\t{time}\t{time}\t{number}\t{path}\0")
        (self.home / "files.index.zst").write_bytes(compressed(os.fsencode("".join(index))))
        self.files["entries"] = len(lines)

    def write(self, *, genuine: bool = True) -> None:
        """Make it so: the sizes and digests of its files in the manifest, the manifest, and SHA256SUMS over all."""
        for artifact in self.manifest["artifacts"]:
            for each in artifact["files"]:
                with contextlib.suppress(OSError, ValueError):  # names of files may be forged, too
                    data = (self.home / each["file"]).read_bytes()
                    each.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        (self.home / "manifest.json").write_text(json.dumps(self.manifest))
        seal(self.home, genuine=genuine)


@contextlib.contextmanager
def forged(home: Path, *, genuine: bool = True) -> Iterator[Forgery]:
    """Change the backup at `home` in the block; at its end it is written, and every digest is right.

    If `genuine`, it is as if this host itself had made and signed it: what lies behind that defence is to be tested.
    """
    forgery = Forgery(home)
    yield forgery
    forgery.write(genuine=genuine)


def packed_members(members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """An archive with these members."""
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for each, data in members:
                archive.addfile(each, io.BytesIO(data))
        return file.getvalue()


def compressed(data: bytes) -> bytes:
    """As zstd(1) does."""
    return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout


def member(
    name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, size: int = 0, target: str = ""
) -> tarfile.TarInfo:
    """A member of an archive."""
    made = tarfile.TarInfo(name)
    made.type, made.mode, made.size, made.linkname, made.mtime = kind, mode, size, target, TIME
    if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        made.devmajor, made.devminor = 1, 3
    return made

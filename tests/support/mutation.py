"""Backup directories as somebody leaves them who can write there: changed at random, by a seed."""

import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from hiveden_backup.core.names import is_backup_id
from tests.support.history import seal

ODD_NAMES = (
    b"\xff\xfe",
    "a\u2028b\u202ec\x1b[2J".encode(),
    b"-rf",
    b"20261123T023000Z",
    b"99991231T235959Z",
    b"x" * 255,
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1 << 63, 10**30, 1e308, -0.5, float("nan"), "", [], {}, [[]], {"a": 1}, "x" * 100_000),
    *("\x1b]0;x\x07\x1b[2J", "a\u2028\u0085\u202eb\nerror: forged", "\udcff", "\ud800", "a\0b", "%n%s", "latest"),
    *("../../../../../../etc/shadow", "/etc/shadow", "/proc/self/mem", "/", "archives/../../x", "-rf", "."),
    *("1000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "20261123T023000Z", "archives/20261123T023000Z.hot.tar.zst"),
)


@dataclass
class Mutation:
    """Changes at `home`, a backup directory. `outside` is a directory that nobody may touch; `done` tells of them."""

    home: Path
    outside: Path
    random: Random
    done: list[str]

    def mutate(self) -> None:
        """One to four changes."""
        for _ in range(self.random.choice((1, 1, 2, 4))):
            change = self.random.choice(
                (self.table, self.table, self.table, self.content, self.special, self.folder, self.junk)
            )
            change()
        if self.random.random() < 0.5:  # down to the last digest
            self._seal()

    def _files(self) -> list[Path]:
        return sorted(path for path in self.home.rglob("*") if stat.S_ISREG(path.lstat().st_mode))

    def _file(self) -> Path:
        return self.random.choice(self._files())

    def _folders(self) -> list[Path]:
        return sorted(path for path in self.home.rglob("*") if stat.S_ISDIR(path.lstat().st_mode))

    def _say(self, what: str, path: Path) -> None:
        self.done.append(f"{what} {os.fsencode(path.relative_to(self.home))!r}")

    # ---- kinds of change

    def table(self) -> None:
        """A field of a file of JSON is something else, or gone, or the whole of it is."""
        path = self.random.choice([each for each in self._files() if each.suffix == ".json"] or self._files())
        try:
            table = json.loads(path.read_text()) if _is_small(path) else None
        except (ValueError, RecursionError):
            return
        places = list(_places(table))
        if not places:
            return
        holder, key = self.random.choice(places)
        if self.random.random() < 0.2:
            del holder[key]
            self._say(f"without {key!r}:", path)
        else:
            holder[key] = self.random.choice(ODD_VALUES)
            self._say(f"{key!r} is {holder[key]!r:.40}:", path)
        path.write_text(json.dumps(table))

    def content(self) -> None:
        """A file is cut, changed, longer, another one's, endless, or a bomb."""
        path = self._file()
        data = path.read_bytes() if _is_small(path) else b""
        changes: dict[str, Callable[[], object]] = {
            "cut": lambda: os.truncate(path, self.random.randrange(len(data) + 1)),
            "flipped": lambda: path.write_bytes(_flipped(data, self.random)),
            "longer": lambda: path.write_bytes(data + b"\n" + data),
            "another one's": lambda: shutil.copyfile(self._file_but(path), path),
            "8 TiB": lambda: os.truncate(path, 8 << 40),
            "65 MiB": lambda: os.truncate(path, 65 << 20),
            "deep": lambda: path.write_bytes(b"[" * 1_000_000),
            "a bomb": lambda: path.write_bytes(_bomb(self.random.choice((b"\0", b"x", b"0\tf\t")))),
            "bytes": lambda: path.write_bytes(self.random.randbytes(300)),
            "empty": lambda: path.write_bytes(b""),
        }
        what = self.random.choice(sorted(changes))
        changes[what]()
        self._say(f"{what}:", path)

    def _file_but(self, path: Path) -> Path:
        return self.random.choice([each for each in self._files() if each != path] or [Path("/etc/passwd")])

    def special(self) -> None:
        """Something else lies where a file was."""
        path = self._file()
        path.unlink()
        kinds: dict[str, Callable[[], object]] = {
            "nothing": lambda: None,
            "a FIFO": lambda: os.mkfifo(path),
            "a socket": lambda: _bind(path),
            "a device": lambda: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5)),
            "a directory": path.mkdir,
            "a full directory": lambda: (path / path.name).mkdir(parents=True),
            **{
                f"a link to {target}": lambda target=target: path.symlink_to(target)  # type: ignore[misc] # bound now
                for target in (
                    "/dev/zero",
                    "/etc/shadow",
                    "/proc/kmsg",
                    path.name,
                    self.outside / "secret",
                    self.outside,
                )
            },
        }
        what = self.random.choice(sorted(kinds))
        kinds[what]()
        self._say(f"{what}:", path)

    def folder(self) -> None:
        """A directory is something else, is somewhere else, or has another's name."""
        path = self.random.choice([each for each in self._folders() if each != self.home])
        kept = self.outside.parent / "moved"
        match self.random.randrange(5):
            case 0:
                shutil.rmtree(path)
                path.symlink_to(self.outside)
                self._say("a link outside:", path)
            case 1:
                shutil.rmtree(path)
                path.touch()
                self._say("a file:", path)
            case 2:
                shutil.rmtree(path)
                os.mkfifo(path)
                self._say("a FIFO:", path)
            case 3:
                shutil.rmtree(kept, ignore_errors=True)
                shutil.move(path, kept)
                path.symlink_to(kept)
                self._say("a link to itself elsewhere:", path)
            case _:
                other = Path(os.fsdecode(os.path.join(os.fsencode(path.parent), self.random.choice(ODD_NAMES))))
                with contextlib.suppress(OSError):
                    path.rename(other)
                    self._say(f"is now {os.fsencode(other.name)[:30]!r}:", path)

    def junk(self) -> None:
        """What nobody wants lies beside the rest."""
        path = os.fsencode(self.random.choice([self.home, *self._folders()]))
        for name in ODD_NAMES:
            with contextlib.suppress(FileExistsError):
                if self.random.random() < 0.5:
                    os.mkdir(os.path.join(path, name))
                else:
                    os.mknod(os.path.join(path, name))
        for number in range(self.random.choice((0, 3000))):
            os.mknod(os.path.join(path, b"2026%010dZ.hot.tar.zst" % number))
        for link in (b".incoming-20261123T023000Z", b".deleting-x", b".incoming-owner-x", b"manifest.json"):
            with contextlib.suppress(FileExistsError):
                os.symlink(os.fsencode(self.outside), os.path.join(path, link))
        self._say("junk:", Path(os.fsdecode(path)))

    def _seal(self) -> None:
        for manifest in self.home.glob("*/*/manifest.json"):
            if is_backup_id(manifest.parent.name) and _is_small(manifest):  # no link to what has no end
                with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError, MemoryError):
                    _repair(manifest)
                    if all(_is_small(each) for each in manifest.parent.iterdir()):
                        seal(manifest.parent)


def _repair(manifest: Path) -> None:
    """Let a manifest have the sizes and digests of what is there."""
    table = json.loads(manifest.read_text())
    listed = [each for artifact in table["artifacts"] for each in artifact["files"]]
    for record, path in [
        *((each, manifest.parent / each["file"]) for each in listed),
        *((each, manifest.parents[1] / each["path"]) for each in table["archives"]),
    ]:
        if _is_small(path):
            said = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout
            record.update(bytes=path.stat().st_size, sha256=said[:64])
    manifest.write_text(json.dumps(table))


def _is_small(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode) and path.lstat().st_size < 1 << 30


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Where values are in a value of JSON."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _flipped(data: bytes, random: Random) -> bytes:
    if not data:
        return b"\xff"
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << random.randrange(8))]) + data[place + 1 :]


def _bomb(piece: bytes) -> bytes:
    """What unpacks to a gibibyte."""
    with subprocess.Popen(["zstd", "-q", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as packer:
        assert packer.stdin is not None
        assert packer.stdout is not None
        block = piece * ((1 << 20) // len(piece))
        for _ in range(1024):  # what it packs to fits in a pipe many times over
            packer.stdin.write(block)
        packer.stdin.close()
        return packer.stdout.read()


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as found:
        here = os.open(path.parent, os.O_PATH)
        try:
            found.bind(f"/proc/self/fd/{here}/{path.name}")  # a socket's path is short
        finally:
            os.close(here)

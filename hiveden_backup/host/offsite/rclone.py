"""The one door to remote places: rclone(1), one process for each act, whose answers are not believed.

It says 0 for what is missing, and keeps trying for minutes: so sizes are compared here, times and attempts are bounded,
nothing of our environment reaches it, and whoever wants to try again does so above. Names are relative to the remote.
"""

import contextlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hiveden_backup.core.config.values import Offsite
from hiveden_backup.core.errors import (
    BackupError,
    CorruptError,
    DeniedError,
    NotFoundError,
    StorageError,
    UnreachableError,
)
from hiveden_backup.host.disk.durable import UnfitFileError, read_regular, translated
from hiveden_backup.host.offsite import configuration, directory, errors, listing
from hiveden_backup.host.offsite.listing import Object
from hiveden_backup.host.process import Brake, Command, Pipeline, ProcessError, find_program

PROGRAM = "rclone"
_PATIENT = ("--retries", "1", "--low-level-retries", "1", "--timeout", "60s", "--contimeout", "15s")
_PLAIN = ("--ask-password=false", "--stats", "0", "--log-level", "NOTICE", "--use-mmap")
_ONE_REQUEST = (
    *("--s3-no-check-bucket", "--s3-no-head", "--no-check-dest", "--no-traverse"),
    *("--s3-upload-cutoff", "4G", "--b2-upload-cutoff", "4G", "--transfers", "1", "--checkers", "1"),
)
_AS_EVER = {"RCLONE_INPLACE": "true"}
"""What 1.60 always does, and has no option for: newer ones send to another name, which not each server lets change."""
_LISTING = ("lsjson", "--recursive", "--files-only", "--no-modtime", "--no-mimetype", "--fast-list")
_NOT_THERE = re.compile(r"directory not found|object not found|file not found|NoSuchKey|\b404\b", re.IGNORECASE)
_VERSIONED = ("S3 ", "B2 ")
_NO_SUCH = frozenset({3, 4})  # rclone's statuses for a directory and a file that is not there
_LEAST_RATE = 4096
_LEAST_SECONDS = 300
_LISTING_SECONDS = 6 * 3600
_MOST_SECONDS = 86400
_LOOK_SECONDS = 1.0
_LONGEST_LISTING = 2 << 30
_SMALL = 4 << 20


class Remote:
    """One offsite, as rclone reaches it. `as_of` looks at a bucket with versions as it was then (rclone's time)."""

    def __init__(self, offsite: Offsite, state: Path, *, brake: Brake | None = None, as_of: str = "") -> None:
        self.offsite = offsite
        self._state = state
        self.brake = brake or Brake()
        self._as_of = as_of

    # ---- what is done there

    def put(self, source: Path, name: str) -> None:
        """Send a file, whatever lies there under that name. On a disk of this machine it is durable then."""
        size = source.stat().st_size
        limited = ("--bwlimit", self.offsite.bandwidth) if self.offsite.bandwidth else ()
        most_seconds = _LEAST_SECONDS + size / _LEAST_RATE
        if not self.offsite.is_local:
            argv = ("copyto", *_ONE_REQUEST, *limited, str(source), self._place(name))
            with self._running("sending to", argv, most_seconds):
                return
        self._insist()
        with directory.growing(self.offsite.remote, name) as file:
            with self._running("sending to", ("cat", *limited, str(source)), most_seconds, file):
                pass
            if os.fstat(file).st_size != size:
                raise UnreachableError(f"{name} has not the size that was sent", "Something else writes there")

    def get(self, name: str, target: Path, most: int) -> int:
        """Fetch an object into a new file, and its size. NotFoundError when it is not there, or empty, which none is.

        CorruptError when it has more than `most` bytes; no more than that is read.
        """
        with translated(f"writing {target}", unwritable=StorageError):
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                self._receive(name, descriptor, most + 1)
            except NotFoundError as error:
                raise self._missing(name) from error
            size = os.fstat(descriptor).st_size
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        if 0 < size <= most:
            return size
        target.unlink()
        if size:
            raise self._too_long(name, most)
        raise self._missing(name)

    def _receive(self, name: str, target: int, most: int) -> None:
        if not self.offsite.is_local:
            argv = ("cat", "--count", str(most), *self._one(name))
            with self._running("reading", argv, _LEAST_SECONDS + most / _LEAST_RATE, target, most=most):
                return
        self._insist()
        with translated(f"writing {name} here", unwritable=StorageError), open(os.dup(target), "wb") as file:
            for piece in directory.content(self.offsite.remote, name, most):
                self.brake.insist()
                file.write(piece)

    def read(self, name: str, most: int) -> bytes:
        """A small object's content. As `get`."""
        with tempfile.TemporaryDirectory(prefix="hiveden-backup-") as folder:
            target = Path(folder, "object")
            self.get(name, target, most)
            return read_regular(target, most)

    def list(self, prefix: str = "", *, digests: bool = False) -> Iterator[Object]:
        """All objects below a folder, in the place's order, their names relative to the remote; none when it is empty.

        `digests` are asked for only where a listing has them without more requests, as S3's has; `hash_in_listing`.
        """
        hashed = ("--hash", "--hash-type", "md5") if digests else ()
        with tempfile.TemporaryFile() as file:
            argv = (*_LISTING, *hashed, *self._then(), self._folder(prefix))
            try:
                with self._running("listing", argv, _LISTING_SECONDS, file.fileno(), most=_LONGEST_LISTING):
                    pass
            except NotFoundError:
                return
            file.seek(0)
            yield from listing.entries(file, f"{prefix}/" if prefix else "")

    def stat(self, name: str, *, digests: bool = False) -> Object | None:
        """One object, looked for by itself and in no listing; None when it is not there. DeniedError."""
        hashed = ("--hash", "--hash-type", "md5") if digests else ()
        argv = ("lsjson", "--stat", "--no-modtime", "--no-mimetype", *hashed, *self._then(), self._place(name))
        try:
            said = self._said("looking at", argv)
        except NotFoundError:
            return None
        if not said.strip() or json.loads(said) is None or json.loads(said).get("IsDir"):
            return None
        return replace(listing.entry(said, ""), name=name)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, in any order; what is not there is no failure. DeniedError when the key may not."""
        wanted = [*names]
        if not wanted:
            return
        if self.offsite.is_local:
            self._insist()
            directory.remove(self.offsite.remote, wanted)
            return
        with _listed(wanted) as file:
            listed = ("--files-from-raw", f"/proc/self/fd/{file}", "--no-traverse")
            limit = _LEAST_SECONDS + len(wanted)
            argv = ("delete", *listed, *self._then(), self._folder(""))
            running = self._running("removing from", argv, limit, descriptors=(file,))
            with contextlib.suppress(NotFoundError), running:
                pass

    def read_all(self, folder: str, names: Sequence[str], most: int) -> Iterator[tuple[str, bytes | BackupError]]:
        """The content of small objects of a folder there, of no more than `most` bytes each, or why it was not read.

        All by one rclone, which lists the folder, and asks once for each. What lies there says how large it is, and may
        lie: so no more than they may have together is fetched.
        """
        with tempfile.TemporaryDirectory(prefix="hiveden-backup-") as here:
            failure = None if self.offsite.is_local else self._fetch_all(folder, names, here, most * len(names))
            for name in names:
                try:
                    if self.offsite.is_local:
                        found: bytes | BackupError = self.read(f"{folder}/{name}", most)
                    else:
                        found = read_regular(Path(here, name), most)
                except FileNotFoundError:
                    found = failure or self._missing(name)
                except UnfitFileError:
                    found = self._too_long(name, most)
                except BackupError as error:
                    found = error
                yield name, found

    def _fetch_all(self, folder: str, names: Sequence[str], here: str, most: int) -> BackupError | None:
        """Fetch them into a directory here; what went wrong, be it with one of them.

        No sizes or digests are compared: who writes something new meanwhile is not at fault.
        """
        how = ("copy", "--no-check-dest", "--ignore-size", "--ignore-checksum", "--transfers", "8")
        with _listed(names) as file:
            bounds = ("--max-transfer", f"{most}b", "--files-from-raw", f"/proc/self/fd/{file}")
            argv = (*how, *bounds, *self._then(), self._folder(folder), here)
            try:
                with self._running("reading", argv, _LEAST_SECONDS + len(names), descriptors=(file,)):
                    return None
            except BackupError as error:
                self.brake.insist()
                return error

    @cached_property
    def hashes(self) -> frozenset[str]:
        """The digests that the place knows of its objects: some of `md5`, `sha1`, `sha256` and others."""
        try:
            return frozenset(str(each).lower() for each in self._features["Hashes"])
        except (KeyError, TypeError):
            return frozenset()

    @cached_property
    def _features(self) -> dict[str, Any]:
        try:
            root = self.offsite.remote if self.offsite.is_local else f"{self.offsite.remote.partition(':')[0]}:"
            found = json.loads(self._said("looking at", ("backend", "features", root)))  # with a path it would look
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def keeps_versions(self, name: str) -> bool | None:
        """Whether the place keeps what is overwritten or removed, by an object that was; None where none can tell.

        (rclone 1.60 has no word for the setting of a bucket. What it keeps, it lists with the time in its name, before
        what follows the last dot.)
        """
        if not str(self._features.get("String", "")).startswith(_VERSIONED):
            return None
        folder, _, last = name.rpartition("/")
        stem, dot, kind = last.rpartition(".")
        argv = ("lsjson", "--files-only", "--no-modtime", "--no-mimetype", "--s3-versions", "--b2-versions")
        only = ("--include", f"/{stem}-v*{dot}{kind}")  # other hosts' are many
        try:
            return bool(json.loads(self._said("listing", (*argv, *only, self._folder(folder)))))
        except (DeniedError, ValueError):
            return None

    @property
    def knows_md5(self) -> bool:
        """Whether what it tells of an object can have its MD5."""
        return not self.offsite.is_local and "md5" in self.hashes

    def room(self) -> int | None:
        """How many bytes it still takes; None where it does not say."""
        try:
            found = json.loads(self._said("looking at", ("about", "--json", self._place(""))))
        except (ValueError, BackupError):
            return None
        free = found.get("free") if isinstance(found, dict) else None
        return free if isinstance(free, int) else None

    # ---- how

    def _place(self, name: str) -> str:
        remote = self.offsite.remote
        if not name:
            return remote
        return f"{remote}{name}" if remote.endswith((":", "/")) else f"{remote}/{name}"

    def _folder(self, name: str) -> str:
        """As `_place`, of what is no file: else rclone asks first, and a refusal makes newer ones take it for one."""
        place = self._place(name)
        return place if place.endswith((":", "/")) else f"{place}/"

    def _then(self) -> tuple[str, ...]:
        return ("--s3-version-at", self._as_of) if self._as_of else ()

    def _one(self, name: str) -> tuple[str, ...]:
        """What leads rclone to one object. As it was then, by a listing of its folder: else rclone looks at now."""
        if not self._as_of:
            return (self._place(name),)
        folder, _, last = name.rpartition("/")
        return (*self._then(), "--include", f"/{last}", self._folder(folder))

    def _missing(self, name: str) -> NotFoundError:
        return NotFoundError(
            f"{name} is not there", "", f"Look what is: hiveden-backup offsite list {self.offsite.name}"
        )

    def _too_long(self, name: str, most: int) -> CorruptError:
        return CorruptError(f"{name} at the offsite {self.offsite.name} is longer than {most} bytes", "It was replaced")

    def _said(self, doing: str, argv: Sequence[str]) -> bytes:
        with tempfile.TemporaryFile() as file:  # read when it has ended in time: a place may drip for ever
            with self._running(doing, argv, _LEAST_SECONDS, file.fileno(), most=_SMALL):
                pass
            file.seek(0)
            return file.read()

    @contextlib.contextmanager
    def _running(
        self,
        doing: str,
        argv: Sequence[str],
        seconds: float,
        stdout: int | None = None,
        *,
        most: int | None = None,
        descriptors: tuple[int, ...] = (),
    ) -> Iterator[None]:
        """Let rclone do something; it is seen to have ended well, within so many seconds, when the block is left.

        What it says goes to `stdout`, a file, no more than `most` bytes of it (and what it says within a second).
        """
        self._insist()
        seconds = min(seconds, _MOST_SECONDS)  # who wrote what lies there has a say in it
        path, content = self._configuration
        rclone = (_program(), "--config", path, *_PATIENT, *_PLAIN, *argv)
        command = Command(rclone, environment=_AS_EVER, descriptors=descriptors)
        try:
            with Pipeline(command, stdout=stdout, brake=self.brake) as pipeline:
                yield
                ends = time.monotonic() + seconds
                while not pipeline.ends_within(min(_LOOK_SECONDS, max(ends - time.monotonic(), 0.0))):
                    self._insist_on_size(stdout, most)
                    if time.monotonic() >= ends:
                        raise UnreachableError(
                            f"The offsite {self.offsite.name} takes too long",
                            f"rclone did not end within {seconds:.0f} seconds",
                            "It is tried again by itself; look at the network",
                        )
                self._insist_on_size(stdout, most)
        except ProcessError as error:
            found, cause = errors.translated(error, self.offsite, doing, content), errors.quiet(error, content)
            if isinstance(found, UnreachableError) and (error.status in _NO_SUCH or _NOT_THERE.search(error.stderr)):
                found = NotFoundError(found.what, found.why, "Look at what is there")
        else:
            return
        self.brake.insist()  # out here, no traceback shows what it was that rclone said
        raise found from cause

    def _insist_on_size(self, stdout: int | None, most: int | None) -> None:
        if stdout is not None and most is not None and os.fstat(stdout).st_size > most:
            raise UnreachableError(
                f"The offsite {self.offsite.name} says too much",
                f"rclone wrote more than {most} bytes",
                "Look at what is there: there is more than this host, and hosts like it, would send",
            )

    def _insist(self) -> None:
        """UnreachableError when a disk of this machine is not mounted: its directory has to be made by a person."""
        if self.offsite.is_local and not os.path.isdir(self.offsite.remote):
            raise UnreachableError(
                f"The offsite {self.offsite.name} is not there",
                f"{self.offsite.remote} is no directory: perhaps its disk is not mounted",
                "Mount it; the first time, make the directory there",
            )

    @cached_property
    def _configuration(self) -> tuple[str, str]:
        return configuration.of(self.offsite, self._state)


@contextlib.contextmanager
def _listed(names: Iterable[str]) -> Iterator[int]:
    """The descriptor, for the block, of a file that rclone can read these names in."""
    with open(os.memfd_create("names", os.MFD_CLOEXEC), "w+b") as file:
        file.write("".join(f"{name}\n" for name in names).encode())
        file.flush()
        yield file.fileno()


def _program() -> str:
    try:
        return find_program(PROGRAM)
    except UnreachableError as error:
        raise UnreachableError(
            "The program rclone is not installed", "It brings backups elsewhere", "Install it: apt-get install rclone"
        ) from error

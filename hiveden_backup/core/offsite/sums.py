"""The two kinds of sums at an offsite: of an archive, and of a backup. Each says that what it names is complete there.

Their plain lines are over what lies there, so that `sha256sum -c` checks it without a key; lines that begin with `# `,
which it passes over, say the rest: sizes, plain digests, and what a backup needs. The backup's own SHA256SUMS and its
signature are no objects: the first is the lines `# file`, to the byte (`BackupSums.own_sums`), the second is in here.

    # hiveden-backup offsite 1
    # archive archives/NAME.tar.zst BYTES PLAINSHA256     or     # backup JOB/ID
    # file FILE BYTES PLAINSHA256                         of a backup: each of its files, in the order of its SHA256SUMS
    # needs archives/NAME.tar.zst BYTES PLAINSHA256       of a backup: each archive
    # signature BASE64                                    of a backup: its SHA256SUMS.sig
    # recipient KEY                                       each key that opens it; none where it is not encrypted
    # object NAME BYTES
    DIGEST  NAME

NAMEs of objects are relative to where the sums lie.
"""

import base64
import re
from collections.abc import Iterator, Sequence

from hiveden_backup.core.backup import layout
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.lines import split_lines
from hiveden_backup.core.names import is_backup_id, is_job_name
from hiveden_backup.core.offsite.layout import LONGEST_SIGNATURE, LONGEST_SUMS

_FIRST = "# hiveden-backup offsite 1"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_OBJECT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.%-]*")
_DIGITS = 18
_LARGEST_OBJECT = (2 << 30) + (4 << 20)
"""The largest slice that may be configured, and what age adds."""
_OVER = 64 << 10
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Content:
    """A file before it was sliced and encrypted: an archive by its path in the job, a backup's file by its name."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Piece:
    """An object as it lies there, by its name beside the sums."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ArchiveSums:
    """An archive, and the objects that it lies in, in their order."""

    archive: Content
    pieces: tuple[Piece, ...]
    recipients: tuple[str, ...] = ()

    def dump(self) -> bytes:
        """The content of `archives/NAME.tar.zst.sums`."""
        return _written([f"# archive {_content(self.archive)}", *_for(self.recipients)], self.pieces)


@dataclass(frozen=True, slots=True)
class BackupSums:
    """A backup: its `files`, the archives that it needs, the objects of its files, and its own signature.

    `files` are all that its SHA256SUMS names. `signature` is its SHA256SUMS.sig, empty where it has none.
    """

    job: str
    backup: str
    files: tuple[Content, ...]
    needs: tuple[Content, ...]
    pieces: tuple[Piece, ...]
    signature: bytes = b""
    recipients: tuple[str, ...] = ()

    @property
    def own_sums(self) -> bytes:
        """The backup's own SHA256SUMS, as it is in a backup directory."""
        return layout.sums((each.path, each.sha256) for each in self.files)

    def pieces_of(self, file: str) -> tuple[Piece, ...]:
        """The objects that a file of the backup lies in, in their order."""
        whole = (file, f"{file}.age")
        numbered = re.compile(rf"{re.escape(file)}\.[0-9]{{4,6}}(?:\.age)?")
        return tuple(each for each in self.pieces if each.name in whole or numbered.fullmatch(each.name))

    def dump(self) -> bytes:
        """The content of `ID/SHA256SUMS` there."""
        lines = [f"# backup {self.job}/{self.backup}"]
        lines += [f"# file {_content(each)}" for each in self.files]
        lines += [f"# needs {_content(each)}" for each in self.needs]
        if self.signature:
            lines.append(f"# signature {base64.b64encode(self.signature).decode()}")
        return _written([*lines, *_for(self.recipients)], self.pieces)


def load_archive(content: bytes) -> ArchiveSums:
    """The inverse of `ArchiveSums.dump`. ValueError on anything else."""
    said, pieces = _read(content)
    (archive,) = _only(said, "archive")
    recipients = tuple(_all(said, "recipient"))
    if said:
        raise ValueError(f"It has the line {said[0]!r:.{_SHOWN}}")
    found = _archive(archive)
    name = found.path.partition("/")[2]
    for number, piece in enumerate(pieces):
        if piece.name.removesuffix(".age") != f"{name}.{number:04}":
            raise ValueError(f"{piece.name!r:.{_SHOWN}} is no slice number {number} of it")
    _insist_on_weight(found, pieces)
    return ArchiveSums(found, tuple(pieces), recipients)


def load_backup(content: bytes) -> BackupSums:
    """The inverse of `BackupSums.dump`. ValueError on anything else."""
    said, pieces = _read(content)
    (named,) = _only(said, "backup")
    job, _, backup = named.partition("/")
    if not is_job_name(job) or not is_backup_id(backup):
        raise ValueError(f"{named!r:.{_SHOWN}} is no backup")
    files = tuple(_file(each) for each in _all(said, "file"))
    needs = tuple(_archive(each) for each in _all(said, "needs"))
    signature = b"".join(_decoded(each) for each in _all(said, "signature"))
    recipients = tuple(_all(said, "recipient"))
    if said:
        raise ValueError(f"It has the line {said[0]!r:.{_SHOWN}}")
    for kind in ([each.path for each in files], [each.path for each in needs]):
        if len(set(kind)) < len(kind):
            raise ValueError("It names something twice")
    made = BackupSums(job, backup, files, needs, tuple(pieces), signature, recipients)
    _insist_on_files(made)
    return made


def _insist_on_files(sums: BackupSums) -> None:
    """ValueError unless each file has its objects, numbered without a gap, and each object is one's."""
    left = {each.name.removesuffix(".age") for each in sums.pieces}
    for file in sums.files:
        if file.path in left:
            left.remove(file.path)
            continue
        number = 0
        while f"{file.path}.{number:04}" in left:
            left.remove(f"{file.path}.{number:04}")
            number += 1
        if not number:
            raise ValueError(f"It has no object for {file.path!r:.{_SHOWN}}")
    if left:
        raise ValueError(f"{min(left)!r:.{_SHOWN}} is of no file")
    for file in sums.files:
        most = _most(file.path)
        if most is not None and file.bytes > most:
            raise ValueError(f"{file.path!r:.{_SHOWN}} is larger than any")
        _insist_on_weight(file, sums.pieces_of(file.path))


def _most(file: str) -> int | None:
    """How many bytes a file of a backup may have that is read whole, or whose size no manifest has."""
    if file in (layout.MANIFEST, layout.ARCHIVE_NAMES):
        return layout.LONGEST_MANIFEST if file == layout.MANIFEST else layout.LONGEST_ARCHIVE_NAMES
    return layout.LONGEST_OTHER if layout.is_globals(file) else None


def _insist_on_weight(content: Content, pieces: Sequence[Piece]) -> None:
    """ValueError unless objects weigh what they hold: as much, or somewhat more where they are encrypted."""
    weight = sum(each.bytes for each in pieces)
    is_encrypted = any(each.name.endswith(".age") for each in pieces)
    more = len(pieces) * _OVER + content.bytes // 100 if is_encrypted else 0
    if not content.bytes <= weight <= content.bytes + more:
        raise ValueError(f"The objects of {content.path!r:.{_SHOWN}} weigh {weight} bytes, and it has {content.bytes}")


# ---- lines


def _written(lines: Sequence[str], pieces: Sequence[Piece]) -> bytes:
    rest = [f"# object {each.name} {each.bytes}" for each in pieces]
    rest += [f"{each.sha256}  {each.name}" for each in pieces]
    return "".join(f"{line}\n" for line in (_FIRST, *lines, *rest)).encode()


def _for(recipients: Sequence[str]) -> list[str]:
    return [f"# recipient {' '.join(each.split()[:2])}" for each in recipients]  # an ssh key's comment says who


def _content(content: Content) -> str:
    return f"{content.path} {content.bytes} {content.sha256}"


def _read(content: bytes) -> tuple[list[str], list[Piece]]:
    """The lines that begin with `# ` but for the first one and those of objects, without that; and the objects."""
    if len(content) > LONGEST_SUMS:
        raise ValueError("It is too long")
    lines = split_lines(content.decode("ascii"))
    if not lines or lines[0] != _FIRST or not content.endswith(b"\n"):
        raise ValueError("It does not begin and end as sums do")
    said = [line[2:] for line in lines[1:] if line.startswith("# ")]
    sizes = dict(_size(each) for each in _all(said, "object"))
    pieces = [_piece(line, sizes) for line in lines if not line.startswith("# ")]
    if len(pieces) != len(sizes) or len({each.name for each in pieces}) < len(pieces):
        raise ValueError("Its objects and their digests are not the same")
    return said, pieces


def _piece(line: str, sizes: dict[str, int]) -> Piece:
    digest, _, name = line.partition("  ")
    if not _DIGEST.fullmatch(digest) or name not in sizes:
        raise ValueError(f"It has the line {line!r:.{_SHOWN}}")
    return Piece(name, sizes[name], digest)


def _all(said: list[str], kind: str) -> Iterator[str]:
    """What the lines of one kind say; they are taken out."""
    found = [line for line in said if line.startswith(f"{kind} ")]
    said[:] = [line for line in said if not line.startswith(f"{kind} ")]
    return (line[len(kind) + 1 :] for line in found)


def _only(said: list[str], kind: str) -> tuple[str]:
    found = [*_all(said, kind)]
    if len(found) != 1:
        raise ValueError(f"It has {len(found)} lines of the {kind}")
    return (found[0],)


def _size(text: str) -> tuple[str, int]:
    name, _, size = text.partition(" ")
    if not _OBJECT.fullmatch(name):
        raise ValueError(f"{name!r:.{_SHOWN}} is no name of an object")
    if _number(size) > _LARGEST_OBJECT:
        raise ValueError(f"{name!r:.{_SHOWN}} is larger than any")
    return name, _number(size)


def _parsed(text: str) -> Content:
    path, _, rest = text.partition(" ")
    size, _, digest = rest.partition(" ")
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{text!r:.{_SHOWN}} has no digest")
    return Content(path, _number(size), digest)


def _archive(text: str) -> Content:
    found = _parsed(text)
    if not layout.is_archive_path(found.path):
        raise ValueError(f"{found.path!r:.{_SHOWN}} is no archive")
    return found


def _file(text: str) -> Content:
    found = _parsed(text)
    if not layout.is_backup_file(found.path):
        raise ValueError(f"{found.path!r:.{_SHOWN}} is no file of a backup")
    return found


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise ValueError(f"{text!r:.{_SHOWN}} is no size")
    return int(text)


def _decoded(text: str) -> bytes:
    if len(text) > 2 * LONGEST_SIGNATURE:
        raise ValueError("Its signature is too long")
    return base64.b64decode(text, validate=True)

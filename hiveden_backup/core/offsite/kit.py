"""The recovery kit: a page with all that is needed when this machine is gone, as lines and as a drawing for paper."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from shlex import quote

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.shown import printable

MOST_COLUMNS = 142
MOST_ROWS = 104.0
"""So much fits on a sheet of A4 and can be read."""

FEWEST_JOBS = 8
"""So many are told in any case, in small print."""

_WRAPPED = 130
_SHEET = (210.0, 297.0)  # millimetres, as all that follows
_MARGIN = 10.0
_ADVANCE = 0.605  # of a monospaced letter, in parts of its size
_LEADING = 1.2
_LARGEST = 3.4
_HEAD_ROWS = 1.6
_FONTS = "DejaVu Sans Mono, Liberation Mono, Noto Sans Mono, monospace"


@dataclass(frozen=True, slots=True)
class KitPlace:
    """An offsite. `settings` are the lines of its part of rclone's configuration, `note` why there are none.

    `folder` is this host's there.
    """

    name: str
    remote: str
    folder: str
    settings: tuple[str, ...]
    note: str
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KitJob:
    """A job, what is in it, and the offsites that have it."""

    name: str
    content: tuple[str, ...]
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kit:
    """All that the page tells. `fingerprint` and `public` are those of this host's key.

    `recipe` are the lines of the recipe for stock tools; `identity` what decrypts, only for a copy on paper.
    """

    made: datetime
    host: str
    host_id: str
    fingerprint: str
    public: str
    directory: str
    config_file: str
    places: tuple[KitPlace, ...]
    jobs: tuple[KitJob, ...]
    recipe: tuple[str, ...]
    identity: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the page; `head` begins a part."""

    text: str
    head: bool = False


def page(kit: Kit) -> list[Line]:
    """The page. Where it has too many jobs for one sheet, the last of them are only counted, but for a few."""
    shown = len(kit.jobs)
    while True:
        lines = [*_lines(kit, shown)]
        excess = math.ceil(_rows(lines) - MOST_ROWS)
        if excess <= 0 or shown <= FEWEST_JOBS:
            return lines
        shown = max(FEWEST_JOBS, shown - max(1, excess // 3))


def svg(lines: Sequence[Line]) -> str:
    """The page as a drawing, a sheet of A4."""
    columns = max(len(line.text) for line in lines)
    width, height = (side - 2 * _MARGIN for side in _SHEET)
    size = min(_LARGEST, width / (_ADVANCE * columns), height / (_LEADING * _rows(lines)))
    rows, row = [], 0.0
    for line in lines:
        row += _rows([line])
        weight = ' font-weight="bold"' if line.head else ""
        place = f'x="{_MARGIN}" y="{_MARGIN + row * size * _LEADING:.3f}"'
        rows.append(f'<text xml:space="preserve" {place}{weight}>{escape(line.text)}</text>')
    sheet = f'width="{_SHEET[0]:.0f}mm" height="{_SHEET[1]:.0f}mm" viewBox="0 0 {_SHEET[0]:.0f} {_SHEET[1]:.0f}"'
    head = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" {sheet} font-family="{_FONTS}" font-size="{size:.3f}">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    return "\n".join([*head, *rows, "</svg>", ""])


def fits(lines: Sequence[Line]) -> bool:
    """Whether all of it can be read on one sheet."""
    return _rows(lines) <= MOST_ROWS and all(len(line.text) <= MOST_COLUMNS for line in lines)


def _rows(lines: Sequence[Line]) -> float:
    return sum(_HEAD_ROWS if line.head else 1.0 for line in lines)


# ---- the parts


def _lines(kit: Kit, jobs: int) -> Iterator[Line]:
    yield Line(
        f"RECOVERY KIT of {printable(kit.host)}, {kit.made:%Y-%m-%d}: what is needed when this machine is gone", True
    )
    yield from _wrapped("Keep it on paper, in another house, with the identity (the private key) beside it.")
    yield from _told("host", f"{kit.host} (id {kit.host_id})")
    yield from _told("signs as", kit.fingerprint)
    yield from _told("public key", kit.public)
    yield from _told("backups", f"{kit.directory}; configuration {kit.config_file}")
    for place in kit.places:
        yield from _place(place)
    if not kit.places:
        yield from _wrapped("There is no offsite: all backups are in that directory, and gone with its disk.")
    if kit.identity:
        yield Line("IDENTITY: whoever reads it reads all backups", head=True)
        yield from (Line(printable(line)) for line in kit.identity)
    yield Line(f"JOBS ({len(kit.jobs)})", head=True)
    for job in kit.jobs[:jobs]:
        where = f" -> {', '.join(job.places)}" if job.places else " -> no offsite"
        yield from _wrapped(f"{job.name}{where}: {', '.join(job.content)}")
    if jobs < len(kit.jobs):
        yield from _wrapped(f"and {len(kit.jobs) - jobs} more; each backup's manifest.json tells what is in it")
    yield from _recovery(kit)


def _place(place: KitPlace) -> Iterator[Line]:
    told = f"OFFSITE {place.name}: {place.remote} (this host's folder there: {place.folder})"
    yield from (Line(line.text, head=True) for line in _wrapped(told))
    for line in (*place.settings, *([place.note] if place.note else [])):
        yield from _wrapped(line, 2, 6)
    for recipient in place.recipients:
        yield from _wrapped(f"opened by the identity of {recipient}", 2, 6)
    if not place.recipients:
        yield from _wrapped("not encrypted", 2)


def _recovery(kit: Kit) -> Iterator[Line]:
    yield Line("WITH hiveden-backup", head=True)
    yield from _wrapped("1. Install Debian's rclone, age, zstd and openssh-client, and the package hiveden-backup.")
    place = kit.places[0] if kit.places else None
    if place is None:
        yield from _wrapped("2. Mount the disk with the backups. Then:")
        yield from _typed(f"hiveden-backup init --directory {quote(kit.directory)}")
    else:
        settings = (
            "2. Write rclone's settings, as above, into /root/rclone.conf" if place.settings else "2. Mount the disk"
        )
        yield from _wrapped(f"{settings}; the identity into /root/identity.txt. Then:")
        config = " --rclone-config /root/rclone.conf" * (not place.remote.startswith("/"))
        host = f"--host {place.folder} --identity /root/identity.txt"
        yield from _typed(f"set -- --from {quote(place.remote)}{config} {host}")
        yield from _typed(f'hiveden-backup init --directory {quote(kit.directory)} "$@"')
    further = ' "$@"' * (place is not None)
    yield from _wrapped("3. See what there is, and what a restore would replace (without --yes); then do it:")
    yield from _typed(f"hiveden-backup list{further}")
    restore = f"hiveden-backup restore JOB/latest{further} --in-place --trust {kit.fingerprint}"
    yield from _typed(f"{restore} --allow-beyond --yes")
    yield Line("WITHOUT IT, by stock tools (in a shell of its own, sh)", head=True)
    yield from (Line(printable(line)) for line in kit.recipe)


def _told(what: str, text: str) -> Iterator[Line]:
    yield from _wrapped(f"{what + ':':12}{text}", further=12)


def _typed(command: str) -> Iterator[Line]:
    """A command, in lines that a shell takes for one."""
    *lines, last = _wrapped(command, 3, 5)
    yield from (Line(f"{line.text} \\") for line in lines)
    yield last


def _wrapped(text: str, first: int = 0, further: int = 4) -> Iterator[Line]:
    """A text in lines that fit, with blanks before them; what has none in it is broken anywhere."""
    yield from map(
        Line,
        textwrap.wrap(
            printable(text),
            _WRAPPED,
            initial_indent=" " * first,
            subsequent_indent=" " * further,
            break_on_hyphens=False,
        ),
    )

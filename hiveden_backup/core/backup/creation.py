"""What tar says while it archives: what happens to a tree in use, what it could not read, what went wrong.

Messages are those of GNU tar under LC_ALL=C.
"""

import os
import re
from collections.abc import Collection, Iterable

from hiveden_backup.core.backup.tar_listing import messages, quoted
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.paths import shortened

_CHANGED = (
    "file changed as we read it",
    "File removed before we read it",
    "No such file or directory",
    "Not a directory",
    "Too many levels of symbolic links",
    "Stale file handle",
    "socket ignored",
    "Cannot readlink: Invalid argument",  # it was a symbolic link a moment ago
    "Cannot open: No such device or address",  # it is a socket now
)
_SHRANK = re.compile(r"File shrank by \d+ bytes?; padding with zeros")
_DENIED = "Cannot open: Permission denied"
_REPLACED = "something else was in its place as it was to be read"
_WARNING = "Warning: "  # of these, none makes tar fail
_NO_ATTRIBUTES = re.compile(r"Warning: Cannot [fl]{1,2}(?:list|get)xattr(?:at)?: Operation not supported")


@dataclass(slots=True)
class Warned:
    """What tar warned of on one file system: the first line of its kind, and how many more there were."""

    point: bytes
    line: str
    more: int = 0

    @property
    def sentence(self) -> str:
        """It, for people."""
        where = "/" + os.fsdecode(self.point)
        if _NO_ATTRIBUTES.fullmatch(self.line.partition(": ")[2]):
            return f"The file system at {where} tells of no extended attributes: if there are ACLs, they are not kept"
        more = f", and so of {self.more} more paths" if self.more else ""
        return f"Not all of what lies on the file system at {where} could be read (tar: {shortened(self.line)}{more})"


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """tar's messages, told apart.

    `changed` happen to a tree in use, `warned` are no failure, `fatal` must fail the job. `denied` may be either, where
    tar was confined: whoever looks at these names again `settled` it.
    """

    changed: tuple[str, ...]
    warned: tuple[Warned, ...]
    fatal: tuple[str, ...]
    denied: tuple[str, ...] = ()

    @property
    def denied_names(self) -> frozenset[bytes]:
        """The names, as quoted there, that tar was denied."""
        return frozenset(map(_name, self.denied))

    def settled(self, still: Collection[bytes]) -> "Diagnostics":
        """Themselves, when of the paths that were denied only these are `still`: the others were replaced meanwhile."""
        names = {quoted(path) for path in still}
        fatal = [line for line in self.denied if _name(line) in names]
        replaced = [f"{_name(line).decode('ascii')}: {_REPLACED}" for line in self.denied if _name(line) not in names]
        return Diagnostics((*self.changed, *replaced), self.warned, (*self.fatal, *fatal))


def _name(line: str) -> bytes:
    return line.partition(": ")[0].encode("ascii", "replace")


def torn(diagnostics: Iterable[str]) -> frozenset[bytes]:
    """The names, as quoted there, of which the diagnostics say that the content changed while it was read."""
    told = (line.partition(": ") for line in diagnostics)
    return frozenset(
        name.encode("ascii") for name, _, message in told if message == _CHANGED[0] or _SHRANK.fullmatch(message)
    )


def classify(
    stderr: str, status: int, roots: Collection[bytes], points: Collection[bytes] = (), *, confined: bool = False
) -> Diagnostics:
    """Read what tar said before it ended with `status`. A top path (`roots`) that vanished is fatal.

    `points` are where file systems are mounted; they and `roots` are relative to `/`. tar's warnings count once for
    each file system and kind; but a failure of tar that nothing else explains is fatal. Of a `confined` tar, what it
    may not open is told apart.
    """
    denied: list[str] = []
    changed: list[str] = []
    fatal: list[str] = []
    warned: dict[tuple[bytes, str], Warned] = {}
    tops = {quoted(root).decode("ascii") for root in roots}
    deepest = sorted(((f"{quoted(point).decode('ascii')}/", point) for point in points if point), reverse=True)
    for line in messages(stderr):
        name, _, message = line.partition(": ")
        expected = message.endswith(_CHANGED) or _SHRANK.fullmatch(message) is not None
        top_gone = name in tops and message != _CHANGED[0]
        if message.startswith(_WARNING) and not expected:
            point = next((point for prefix, point in deepest if f"{name}/".startswith(prefix)), b"")
            kind = _WARNING if _NO_ATTRIBUTES.fullmatch(message) else message
            if (point, kind) in warned:
                warned[point, kind].more += 1
            else:
                warned[point, kind] = Warned(point, line)
        elif confined and message == _DENIED:
            denied.append(line)
        elif expected and not top_gone:
            changed.append(line)
        else:
            fatal.append(line)
    if status and not (changed or fatal or denied):
        fatal = [each.line for each in warned.values()] or [f"it ended with status {status}"]
    return Diagnostics(tuple(changed), tuple(warned.values()), tuple(fatal), tuple(denied))

"""What tar says of what it brought back: what the place would not keep, told apart from what went wrong.

Messages are those of GNU tar under LC_ALL=C. Owners, modes and times are looked at afterwards, by the index: some file
systems refuse them without a word. Only of extended attributes the index knows nothing.
"""

import re
from collections.abc import Iterator
from enum import StrEnum

from hiveden_backup.core.backup.tar_listing import messages
from hiveden_backup.core.dataclass import dataclass, field

_SHOWN = 3
_UNSUPPORTED = "Operation not supported"
_DENIED = f"(?:Operation not permitted|Permission denied|Invalid argument|Function not implemented|{_UNSUPPORTED})"
_NO_LINK = "(?:Too many links|Invalid cross-device link)"
_ATTRIBUTE = re.compile(rf"\w+: Cannot set '(.+)' extended attribute for file '(.*)': ({_DENIED})")
_ECHO = re.compile(rf"\w+: Cannot (?:set|drop default) POSIX ACLs for file '.*': {_DENIED}")
"""tar sets an ACL for each member, most of which say what the mode says; a real one is an attribute, too."""


class Loss(StrEnum):
    """What a place may not keep of a path."""

    OWNERS = "owners"
    MODES = "modes"
    TIMES = "times"
    ACLS = "ACLs"
    CAPABILITIES = "capabilities"
    ATTRIBUTES = "extended attributes"
    SPECIAL = "special files"
    SYMBOLIC_LINKS = "symbolic links"
    HARD_LINKS = "hard links"


_ATTRIBUTES = {
    "system.posix_acl_access": Loss.ACLS,
    "system.posix_acl_default": Loss.ACLS,
    "security.capability": Loss.CAPABILITIES,
}
_LOOKED_AT = re.compile(rf"Cannot (?:change ownership to uid \d+, gid \d+|change mode to \S+|utime): {_DENIED}$")
_NOT_MADE = {
    Loss.SPECIAL: re.compile(rf"Cannot (?:mknod|mkfifo): {_DENIED}$"),
    Loss.SYMBOLIC_LINKS: re.compile(rf"Cannot create symlink to '.*': {_DENIED}$"),
    Loss.HARD_LINKS: re.compile(rf"Cannot hard link to '.*': (?:{_DENIED}|{_NO_LINK})$"),
}


@dataclass(slots=True)
class Losses:
    """What could not be kept, counted, with the first paths of each.

    `only_unsupported` is whether all of it are attributes that the file system does not have at all.
    """

    only_unsupported: bool = True
    counts: dict[Loss, int] = field(default_factory=dict)
    _paths: dict[Loss, list[str]] = field(default_factory=dict)

    def add(self, what: Loss, path: str, *, unsupported: bool = False) -> None:
        """One more path of which something is not as it was."""
        self.only_unsupported = self.only_unsupported and unsupported
        paths = self._paths.setdefault(what, [])
        if self.counts.get(what) and paths[-1] == path:
            return  # another attribute of the same
        self.counts[what] = self.counts.get(what, 0) + 1
        if len(paths) < _SHOWN:
            paths.append(path)
        else:
            paths[_SHOWN:] = [path]

    def merge(self, others: "Losses") -> None:
        """Those of another archive, too."""
        self.only_unsupported = self.only_unsupported and others.only_unsupported
        for what, count in others.counts.items():
            self.counts[what] = self.counts.get(what, 0) + count
            self._paths[what] = [*self.paths(what), *others.paths(what)][:_SHOWN]

    def paths(self, what: Loss) -> list[str]:
        """The first paths."""
        return self._paths.get(what, [])[:_SHOWN]

    def table(self) -> list[dict[str, object]]:
        """Ready for JSON."""
        return [{"what": what, "count": count, "paths": self.paths(what)} for what, count in self.counts.items()]

    def __str__(self) -> str:
        return "; ".join(self._told())

    def _told(self) -> Iterator[str]:
        for what, count in self.counts.items():
            paths = self.paths(what)
            more = ", ..." if count > len(paths) else ""
            yield f"{what} of {count} path{'s' if count > 1 else ''} ({', '.join(paths)}{more})"


@dataclass(frozen=True, slots=True)
class Extraction:
    """How tar fared: `lost` are attributes, `not_made` are kinds of paths that may be missing, `fatal` is the rest.

    `denied` is how often it was refused what is looked at afterwards.
    """

    lost: Losses
    not_made: frozenset[Loss]
    fatal: tuple[str, ...]
    denied: int

    @property
    def explained(self) -> bool:
        """Whether a status of failure means no more than that the place does not keep everything."""
        return not self.fatal and bool(self.denied or self.not_made)


def classify(stderr: str) -> Extraction:
    """Read what tar said while it extracted."""
    lost, fatal, denied = Losses(), [], 0
    not_made: set[Loss] = set()
    for line in messages(stderr):
        if _ECHO.fullmatch(line):
            continue
        if _LOOKED_AT.search(line):
            denied += 1
        elif attribute := _ATTRIBUTE.fullmatch(line):
            name, path, why = attribute.groups()
            lost.add(_ATTRIBUTES.get(name, Loss.ATTRIBUTES), f"/{path}", unsupported=why == _UNSUPPORTED)
        elif kinds := [each for each, message in _NOT_MADE.items() if message.search(line)]:
            not_made.update(kinds)
        else:
            fatal.append(line)
    return Extraction(lost, frozenset(not_made), tuple(fatal), denied)

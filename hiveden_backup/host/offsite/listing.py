"""What `rclone lsjson` says of objects."""

import json
from collections.abc import Iterator
from typing import IO

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import UnreachableError

_LONGEST_ENTRY = 64 << 10


@dataclass(frozen=True, slots=True)
class Object:
    """What a listing tells of one object; the digests where the place knows them, else ""."""

    name: str
    bytes: int
    md5: str = ""
    sha256: str = ""


def entries(file: IO[bytes], prefix: str) -> Iterator[Object]:
    """What `lsjson` wrote: an array, an entry a line. UnreachableError when that is cut short."""
    ended = False
    while line := file.readline(_LONGEST_ENTRY):
        text = line.strip().rstrip(b",")
        if text in (b"[", b""):
            continue
        ended = text in (b"]", b"[]")
        if not ended:
            yield entry(text.removeprefix(b"["), prefix)
    if not ended:
        raise UnreachableError("A listing was cut short", "", "Try again")


def entry(text: bytes, prefix: str) -> Object:
    """One of them, its name after the prefix. UnreachableError."""
    try:
        found = json.loads(text)
        digests = found.get("Hashes") or {}
        return Object(
            prefix + found["Path"], int(found["Size"]), str(digests.get("md5", "")), str(digests.get("sha256", ""))
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreachableError("A listing cannot be read", f"{text!r:.80}", "Look at `rclone version`") from error

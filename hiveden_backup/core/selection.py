"""Which records of an index a restore takes: the whole, filtered; and what an index must be to be restored at all."""

from collections.abc import Callable, Iterable, Iterator

from hiveden_backup.core.index import Record, parse


def checked(lines: Iterable[bytes], archives: int) -> Iterator[Record]:
    """The records of an index that can be trusted to stay below its root. ValueError at the first that cannot.

    Paths are relative, without empty, `.` or `..` components, in strictly ascending order; none lies below something
    that the same index says is no directory; each names one of the `archives`.
    """
    last = b""
    leaves: list[bytes] = []  # the non-directories that a later path could claim to lie below
    for line in lines:
        record = parse(line)
        path = record.path
        parts = path.split(b"/")
        if b"" in parts or b"." in parts or b".." in parts:
            raise ValueError(f"the path {path!r} leaves the restored tree")
        if path <= last:
            raise ValueError(f"the path {path!r} is out of order")
        if not 0 <= record.archive < archives:
            raise ValueError(f"the path {path!r} names an archive that is not there")
        # bytewise order puts a/b after a and a-b: keep those leaves that are a prefix of what may still come
        leaves = [leaf for leaf in leaves if path.startswith(leaf)]
        if any(path.startswith(leaf + b"/") for leaf in leaves):
            raise ValueError(f"the path {path!r} lies below something that is no directory")
        if record.type != "d":
            leaves.append(path)
        last = path
        yield record


def filtered(
    records: Iterable[Record], wanted: Callable[[bytes], bool]
) -> tuple[dict[bytes, Record], frozenset[bytes]]:
    """What a partial restore takes, by path in order, and the helpers among it that must go again afterwards.

    Taken is each wanted path and the directories above it, for their modes and times. A hard link needs the member
    that has its content, which may be a name that is not wanted: all names of its inode are taken as helpers.
    """
    every = list(records)
    chosen = {record.path for record in every if wanted(record.path)}
    inodes = {(record.archive, record.inode) for record in every if record.path in chosen and record.nlink > 1}
    helpers = {
        record.path
        for record in every
        if record.nlink > 1 and record.path not in chosen and (record.archive, record.inode) in inodes
    }
    above = {parent for path in (*chosen, *helpers) for parent in _parents(path)}
    keep_above = {parent for path in chosen for parent in _parents(path)}
    taken = {
        record.path: record
        for record in every
        if record.path in chosen or record.path in helpers or (record.type == "d" and record.path in above)
    }
    extra = helpers | {path for path in taken if path not in chosen and path not in keep_above}
    return taken, frozenset(extra)


def _parents(path: bytes) -> Iterator[bytes]:
    while (slash := path.rfind(b"/")) > 0:
        path = path[:slash]
        yield path

"""Symbolic links on the way to a path, and who laid them."""

import os
import stat

_MOST = 40
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def led_by_root(path: str) -> str | None:
    """Where a path leads; None when somebody other than root, or us, can have laid a link on the way there."""
    ours = {0, os.geteuid()}
    here, todo, links = "/", _parts(path), 0
    while todo:
        part = todo.pop(0)
        if part == "..":
            here = os.path.dirname(here)
            continue
        place = os.path.join(here, part)
        try:
            found = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            return os.path.normpath(os.path.join(place, *todo))
        except OSError:
            return None
        if not stat.S_ISLNK(found.st_mode):
            here = place
            continue
        above = os.stat(here)
        links += 1
        if links > _MOST or not {found.st_uid, above.st_uid} <= ours:
            return None
        if above.st_mode & _OTHERS and not above.st_mode & stat.S_ISVTX:
            return None
        target = os.readlink(place)
        here = "/" if target.startswith("/") else here
        todo[:0] = _parts(target)
    return here


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]

"""Where a client of the API may have backed up, or restored to: pure rules over paths and what is behind them.

Who writes the configuration, or the command line, may name any place. A client may be a dashboard that was talked into
something, so what no backup is for, and what a restore would make somebody root by, is refused to it.
"""

import unicodedata
from collections.abc import Mapping

from hiveden_backup.core.paths import inside

_PASSING = ("/proc", "/sys", "/dev", "/run")
_SYSTEM = (
    *_PASSING,
    *("/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/root", "/sbin", "/usr"),
    *("/var/cache", "/var/lib", "/var/log", "/var/run", "/var/spool"),
)
_SEPARATORS = frozenset({"Zl", "Zp"})


def unnameable(name: str) -> str:
    """Why a name is not written into a configuration for a client, "" when it may be."""
    if _SEPARATORS & {unicodedata.category(character) for character in name}:
        return f"{name} has a line separator in it, which not all programs take for a character"
    return ""


def unadoptable(path: str, real: str, ours: Mapping[str, str]) -> str:
    """Why a client gets no job for `path`, "" when it may.

    `real` is where the path leads to without links. `ours` are our own directories, by what they are.
    """
    if reason := unnameable(path):
        return reason
    if real != path:
        return f"{path} leads by a symbolic link to {real}"
    if real == "/" or _below(real, _PASSING):
        return f"{path} is not for backups: what is in it is the running machine's"
    return _of_ours(path, real, ours)


def unrestorable(path: str, real: str, ours: Mapping[str, str]) -> str:
    """Why a client may not restore to `path`, "" when it may. The arguments are those of `unadoptable`."""
    if top := _below(path, _SYSTEM) or _below(real, _SYSTEM) or ("/" if real == "/" else ""):
        return f"{path} lies in {top}, which belongs to the system"
    return _of_ours(path, real, ours)


def _below(path: str, tops: tuple[str, ...]) -> str:
    return next((top for top in tops if inside(path, top)), "")


def _of_ours(path: str, real: str, ours: Mapping[str, str]) -> str:
    for what, own in ours.items():
        if inside(real, own):
            return f"{path} lies in the {what}, {own}"
        if inside(own, real):
            return f"The {what}, {own}, lies in {path}"
    return ""

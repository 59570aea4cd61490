"""The tables `[offsite.NAME]`: remote places, who can decrypt what lies there, and how it gets there."""

import re
from collections.abc import Collection, Iterator, Mapping

from hiveden_backup.core.config import rules
from hiveden_backup.core.config.keys import quoted
from hiveden_backup.core.config.reader import TomlTable
from hiveden_backup.core.config.rules import Fault
from hiveden_backup.core.config.values import Offsite
from hiveden_backup.core.names import did_you_mean
from hiveden_backup.core.paths import inside

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_NAME_HINT = 'Use up to 32 of a-z, 0-9, "-" and "_", a letter or digit first'
_REMOTE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]*:[^:,]*")
_LEAST_SLICE, _MOST_SLICE = 1 << 20, 2 << 30
_MOST_BUDGET = 1 << 60
_KEEP = ("all", "newest")
_DEFAULT = Offsite(name="")

_RATE = r"(?:off|[0-9]+(?:\.[0-9]+)?(?:[bkmgtp](?:i?b?)?)?)"
_RATES = rf"{_RATE}(?::{_RATE})?"
_DAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*-)?"
_ENTRY = rf"{_DAY}(?:[01]?[0-9]|2[0-3]):[0-5][0-9],{_RATES}"
_TIMETABLE = rf"{_RATES}|{_ENTRY}(?: +{_ENTRY})*"

_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_SSH_KEY = re.compile(r"(ssh-ed25519|ssh-rsa) ([A-Za-z0-9+/]{40,}={0,2})(?: .*)?")
_LONGEST_CHECKED = 8192


def offsites(table: TomlTable) -> Iterator[tuple[str, TomlTable, Offsite]]:
    """Each of the tables, and what it says but for its retention. Unknown keys are for who takes it."""
    for name, inner in table.each_table():
        if not _NAME.fullmatch(name):
            table.problem(name, "not a name for an offsite", _NAME_HINT)
        yield name, inner, _offsite(name, inner)


def offsite_name(text: str) -> Fault | None:
    """What an offsite may be called."""
    return None if _NAME.fullmatch(text) else Fault(f"{quoted(text)} is not a name for an offsite", _NAME_HINT)


def check_names(table: TomlTable, names: Collection[str] | None, known: Collection[str]) -> None:
    """Note the names of a job's `offsite` that no table has."""
    for name in dict.fromkeys(names or ()):
        if name not in known:
            otherwise = f"Known: {', '.join(known)}" if known else f"Add a table [offsite.{name}]"
            table.problem(
                "offsite", f"there is no offsite {quoted(name)}", did_you_mean(name, known, otherwise, quoted)
            )


def check_places(table: TomlTable, others: Mapping[str, Offsite], offsite: Offsite, directory: str | None) -> None:
    """Note a remote that another offsite has, that lies in one of another, or in the backup directory."""
    place = _place(offsite)
    for other in others.values():
        if not place[0] or not _place(other)[0] or other.name == offsite.name:
            continue
        if _place(other) == place:
            hint = "What one removes there, the other counts on: give each a place of its own"
            table.problem("remote", f"is the remote of the offsite {quoted(other.name)}, too", hint)
        elif _is_within(place, _place(other)) or _is_within(_place(other), place):
            hint = "Who empties the one takes the other along: put them beside each other"
            table.problem("remote", f"and that of the offsite {quoted(other.name)} lie one in the other", hint)
    if offsite.is_local and directory is not None and inside(offsite.remote, directory):
        table.problem("remote", "lies in the backup directory", "Name a directory on another disk")


def _is_within(place: tuple[str, str | None], other: tuple[str, str | None]) -> bool:
    above = other[0] if other[0].endswith((":", "/")) else f"{other[0]}/"
    return place[1] == other[1] and place[0].startswith(above)


def _place(offsite: Offsite) -> tuple[str, str | None]:
    kept = [part for part in offsite.remote.split("/") if part not in ("", ".")]
    plain = "/" * offsite.remote.startswith("/") + "/".join(kept)
    return plain.replace(":/", ":"), offsite.rclone_config


def _offsite(name: str, table: TomlTable) -> Offsite:
    offsite = Offsite(
        name=name,
        remote=table.text("remote", remote_fault) or "",
        rclone_config=table.text("rclone_config", rules.absolute_path),
        recipients=table.names("recipients", _recipient),
        encrypt=table.flag("encrypt", default=_DEFAULT.encrypt),
        slice=table.size("slice", _DEFAULT.slice, _LEAST_SLICE, _MOST_SLICE),
        bandwidth=table.text("bandwidth", _timetable) or "",
        keep_local=table.text("keep_local", _keep_local) or _DEFAULT.keep_local,
        reconcile=table.span("reconcile", _DEFAULT.reconcile),
        verify_budget=table.size("verify_budget", _DEFAULT.verify_budget, 0, _MOST_BUDGET),
    )
    if not table.has("remote"):
        table.problem("remote", "is missing", 'Name the place: remote = "b2:bucket/backups", or a directory')
    elif offsite.remote and not offsite.is_local and not table.has("rclone_config"):
        hint = f"Say which file `rclone config` has written {quoted(offsite.remote.partition(':')[0])} to"
        table.problem("rclone_config", "is missing", hint)
    if offsite.encrypt and not table.has("recipients"):
        hint = "Make a key with `age-keygen`, keep it elsewhere, and name its public part here; or say encrypt = false"
        table.problem("recipients", "nobody could decrypt what lies there", hint)
    if not offsite.encrypt and table.has("recipients"):
        table.problem("encrypt", "is false, and yet there are recipients", "Take one of the two out")
    return offsite


# ---- what single values must look like


def remote_fault(text: str) -> Fault | None:
    """Where an offsite may be."""
    if text.startswith("/"):
        return rules.absolute_path(text) if text != "/" else Fault('"/" cannot be an offsite', "Name a directory")
    if ".." in text.partition(":")[2].split("/"):
        return Fault("leads upwards", 'Write the path without ".."')
    if _REMOTE.fullmatch(text):
        return None
    hint = "Write REMOTE:PATH, where `rclone config` has made REMOTE, or the absolute path of a directory"
    return Fault("is no remote of rclone's configuration", hint)  # not shown: it may be one with a password in it


def _keep_local(text: str) -> Fault | None:
    return None if text in _KEEP else Fault(f"{quoted(text)} is neither {' nor '.join(map(quoted, _KEEP))}")


def _timetable(text: str) -> Fault | None:
    if re.fullmatch(_TIMETABLE, text.strip().lower()):
        return None
    return Fault(f"{quoted(text)} is no timetable of rclone's", 'Write "2M", or "08:00,512k 23:00,off"')


def _recipient(text: str) -> Fault | None:
    if "PRIVATE KEY" in text or "SECRET" in text.upper():
        hint = "Keep it off this machine, and name its public part, which begins with age1"
        return Fault("is the secret part of a key", hint)
    ssh = _SSH_KEY.fullmatch(text)
    if ssh is not None:
        return None if _is_ssh_key(ssh[1], ssh[2]) else Fault(f"{quoted(text)} is damaged", "Copy it again")
    if not text.startswith("age1"):
        return Fault(f"{quoted(text)} is no recipient", "It begins with age1, ssh-ed25519 or ssh-rsa")
    if len(text) > _LONGEST_CHECKED or not _is_bech32(text):
        return Fault(f"{quoted(text)} is mistyped", "Copy it again from what `age-keygen` has printed")
    return None


def _is_bech32(text: str) -> bool:
    """Whether the checksum of a key fits. With a mistyped one, nobody could decrypt anything, and nobody would know."""
    prefix, _, data = text.rpartition("1")
    if not prefix or any(char not in _CHARSET for char in data):
        return False
    values = [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]
    check = 1
    for value in (*values, *map(_CHARSET.index, data)):
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATORS):
            check ^= generator if top >> bit & 1 else 0
    return check == 1


def _is_ssh_key(kind: str, encoded: str) -> bool:
    import base64  # noqa: PLC0415 - few configurations have one

    try:
        content = base64.b64decode(encoded, validate=True)
    except ValueError:
        return False
    return content[4 : 4 + len(kind)] == kind.encode() and int.from_bytes(content[:4], "big") == len(kind)

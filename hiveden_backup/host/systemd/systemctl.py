"""The running systemd, through systemctl(1): what it knows of units, and changes to them."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, DeniedError, UnreachableError
from hiveden_backup.core.lines import split_lines
from hiveden_backup.host.process import Command, ProcessError, find_program, run

_RUNNING = Path("/run/systemd/system")
_TIMEOUT_SECONDS = 120.0
_PROPERTIES = ("Id", "ActiveState", "UnitFileState", "NeedDaemonReload", "LastTriggerUSec", "DropInPaths")
_MOMENT = re.compile(r"\w+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC")
_DECIDED = frozenset({"enabled", "enabled-runtime", "static", "alias", "masked"})


@dataclass(frozen=True, slots=True)
class UnitState:
    """What systemd knows of a unit; of one that is not there, nothing is true. `last_trigger` is a timer's.

    `decided` means that nothing is to be enabled: it is already, or somebody has masked it. `drop_ins` are the files
    that add settings to it by its own name.
    """

    active: bool
    decided: bool
    needs_reload: bool
    last_trigger: datetime | None = None
    drop_ins: tuple[str, ...] = ()


def running() -> bool:
    """Whether systemd runs this machine."""
    return _RUNNING.is_dir()


def permitted() -> bool:
    """Whether we may change anything about units."""
    return os.geteuid() == 0


def require(*, change: bool) -> None:
    """UnreachableError unless systemd runs this machine; DeniedError when a change is meant and we are not root."""
    if not running():
        raise UnreachableError(
            "systemd does not run on this machine",
            f"There is no {_RUNNING}; schedules are its timers",
            "Without it, let cron or the like start: hiveden-backup run --all",
        )
    if change and not permitted():
        raise DeniedError("Schedules cannot be changed", "Only root may install units", "Run it as root (sudo)")


def states(units: Sequence[str]) -> Mapping[str, UnitState]:
    """What systemd knows of each of `units`. What is starting or ending counts as active."""
    if not units:
        return {}
    wanted = f"--property={','.join(_PROPERTIES)}"
    text = _systemctl("show", wanted, "--", *units).strip("\n")
    tables = [dict(line.split("=", 1) for line in split_lines(block)) for block in text.split("\n\n")]
    return {unit: _state(table) for unit, table in zip(units, tables, strict=True)}


def _state(table: Mapping[str, str]) -> UnitState:
    trigger = _MOMENT.fullmatch(table.get("LastTriggerUSec", ""))
    drop_ins = table.get("DropInPaths", "").split()
    return UnitState(
        active=table["ActiveState"] not in ("inactive", "failed"),
        decided=table.get("UnitFileState", "") in _DECIDED,
        needs_reload=table["NeedDaemonReload"] == "yes",
        last_trigger=datetime.fromisoformat(trigger[1]).replace(tzinfo=UTC) if trigger is not None else None,
        drop_ins=tuple(path for path in drop_ins if Path(path).parent.name.startswith(table["Id"].partition("@")[0])),
    )


def active(pattern: str) -> tuple[str, ...]:
    """The units with a name like `pattern` that run, start or end."""
    return _named(pattern, "active,activating,deactivating,reloading")


def forget_failures(pattern: str) -> None:
    """Let units with a name like `pattern` that failed, and whose files are gone, be forgotten."""
    gone = [unit for unit in _named(pattern, "failed") if unit in _named(pattern, "not-found")]
    if gone:
        _systemctl("reset-failed", "--", *gone)


def _named(pattern: str, states: str) -> tuple[str, ...]:
    found = _systemctl("list-units", "--all", "--plain", "--no-legend", f"--state={states}", "--", pattern)
    return tuple(line.split()[0] for line in split_lines(found))


def reload() -> None:
    """Read all unit files anew."""
    _systemctl("daemon-reload")


def stop(units: Iterable[str]) -> None:
    """Stop units; one that is not there is stopped."""
    known = [unit for unit, state in states(list(units)).items() if state.active]
    if known:
        _systemctl("stop", "--", *known)


def disable(units: Iterable[str]) -> None:
    """Let nothing pull these units in any more. Their files must still be there."""
    names = list(units)
    if names:
        _systemctl("disable", "--", *names)


def enable(units: Iterable[str]) -> None:
    """Let systemd pull these units in as their files say."""
    names = list(units)
    if names:
        _systemctl("enable", "--", *names)


def start(units: Iterable[str]) -> None:
    """Start units."""
    names = list(units)
    if names:
        _systemctl("start", "--", *names)


def start_soon(units: Iterable[str]) -> None:
    """Start units, and do not wait for what they do."""
    names = list(units)
    if names:
        _systemctl("start", "--no-block", "--", *names)


def forget_triggers(timers: Iterable[str]) -> None:
    """Let persistent timers forget when they last elapsed, so that a changed one does not fire for that at once."""
    names = list(timers)
    if names:
        _systemctl("clean", "--what=state", "--", *names)


def _systemctl(*arguments: str) -> str:
    command = Command((find_program("systemctl"), "--no-ask-password", *arguments), environment={"TZ": "UTC"})
    try:
        return run(command, timeout=_TIMEOUT_SECONDS).stdout.decode("utf-8", "replace")
    except ProcessError as error:
        if "connect to bus" in error.stderr:
            raise UnreachableError("systemd does not answer", error.why, "Look at: systemctl status") from error
        hint = "Look at: journalctl -b -p warning"
        raise BackupError(f"systemctl {arguments[0]} failed", error.why, hint) from error

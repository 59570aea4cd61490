"""What the journal is told of an event: its fields, and an id that never changes for each kind. No I/O.

The ids are those of systemd/hiveden-backup.catalog.
"""

from collections.abc import Mapping

MESSAGE_IDS = {
    "started": "7d9fb11a45d8493584bfa1970844df01",
    "finished": "fe5420686588454b8af570bf3ee28d15",
    "failed": "c6806dbe48d546878fbb7257fe41cfcd",
    "container-stopped": "1ab7baec5d444e578186fca884bb4903",
    "container-started": "dd036ddb1394466b9817319cbb29bf11",
    "recovered": "a5b6406c5b3843f0a3c1b58c0f44fa9d",
    "pruned": "f02fff0aa51949a291422a2e8e95c48f",
}
"""Other kinds have none."""

_PRIORITIES = {"debug": "7", "info": "6", "warning": "4", "error": "3", "critical": "2"}
_MICROSECONDS = 1_000_000
_FIELDS = {
    "job": "HIVEDEN_JOB",
    "backup": "HIVEDEN_BACKUP",
    "phase": "HIVEDEN_PHASE",
    "container": "HIVEDEN_CONTAINER",
    "artifact": "HIVEDEN_ARTIFACT",
    "bytes": "HIVEDEN_BYTES",
    "seconds": "HIVEDEN_DURATION_USEC",
    "downtime_seconds": "HIVEDEN_DURATION_USEC",
    "result": "HIVEDEN_RESULT",
    "exit_code": "HIVEDEN_EXIT_CODE",
}


def journal_fields(level: str, message: str, facts: Mapping[str, object]) -> Mapping[str, str]:
    """The fields of an event, as journald wants them. `facts` are what is beside the message; unknown ones are lost."""
    fields = {"MESSAGE": message, "PRIORITY": _PRIORITIES.get(level, "6"), "SYSLOG_IDENTIFIER": "hiveden-backup"}
    message_id = MESSAGE_IDS.get(str(facts.get("kind", "")))
    if message_id is not None:
        fields["MESSAGE_ID"] = message_id
    for name, value in facts.items():
        if name in _FIELDS and value is not None:
            fields[_FIELDS[name]] = str(_microseconds(value)) if name.endswith("seconds") else str(value)
    return fields


def _microseconds(seconds: object) -> int:
    return round(seconds * _MICROSECONDS) if isinstance(seconds, (int, float)) else 0

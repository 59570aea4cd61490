"""Records of runs: bounded, and of use after a crash while one was written."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hiveden_backup.core.model import Result, RunKind, Trigger
from hiveden_backup.host.state import records as module
from hiveden_backup.host.state.locks import ExclusiveJob
from hiveden_backup.host.state.records import Records, RunRecord

START = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)


def test_only_the_newest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT_RUNS", 5)
    records = Records(tmp_path)
    for number in range(9):
        path = records.begin(RunRecord("a", START + timedelta(hours=number)))
        records.write(path, RunRecord("a", START + timedelta(hours=number), result=Result.SUCCESS))
    records.begin(RunRecord("b", START))
    started = [record.started for _, record in records.runs("a")]
    assert started == [START + timedelta(hours=number) for number in (8, 7, 6, 5, 4)]
    assert records.jobs() == ("a", "b")


def test_a_record_that_a_crash_cut_short_hides_no_other(tmp_path: Path) -> None:
    """Neither one that is empty yet, nor one that a torn disk gave back, nor what was never put in place."""
    records = Records(tmp_path)
    whole = RunRecord(
        "a", START, result=Result.FAILED, exit_code=69, error="x\ny", trigger=Trigger.TIMER, warnings=("w",)
    )
    path = records.begin(whole)
    records.write(path, whole)
    for number, content in enumerate([b"", b'{"job": "a", "sta', b"[]", b'{"job": "a"}', b"\xff"]):
        (path.parent / f"20261123T04000{number}Z.json").write_bytes(content)
    (path.parent / ".0123456789abcdef0123456789abcdef.tmp").write_bytes(b"{")
    assert list(records.runs("a")) == [(path, whole)]


def test_a_run_that_ended_without_a_word_was_killed(tmp_path: Path) -> None:
    records = Records(tmp_path)
    first = records.begin(RunRecord("a", START, trigger=Trigger.API))
    restore = records.begin(RunRecord("a", START + timedelta(minutes=1), kind=RunKind.RESTORE))
    current = records.begin(RunRecord("a", START + timedelta(hours=1)))
    records.mark_killed(ExclusiveJob("a"), START + timedelta(hours=2), current)
    found = dict(records.all("a"))
    assert (found[restore].result, found[restore].error.split(",")[0]) == (Result.KILLED, "The restore was killed")
    assert found[first] == replace(
        RunRecord("a", START, trigger=Trigger.API),
        result=Result.KILLED,
        finished=START + timedelta(hours=2),
        error="The run was killed, or the machine went down.",
    )
    assert found[current].result is Result.RUNNING

"""What `check` says of the job `app`, and that `run` says the same and does nothing."""

from pathlib import Path

from tests.support.invariants import check_invariants
from tests.support.job import Site

Row = dict[str, str]


def check(bed: Site) -> list[Row]:
    """What `check` finds; nothing was changed by it."""
    before = ours(bed)
    done = bed.run("check", "--json")
    rows: list[Row] = done.json
    assert ours(bed) == before
    assert list(bed.temporary.iterdir()) == []
    assert all(set(row) == {"job", "name", "status", "message", "hint"} for row in rows)
    assert {row["status"] for row in rows} <= {"OK", "WARN", "FAIL"}
    assert done.code == any(row["status"] == "FAIL" for row in rows)
    assert done.err == ""
    return rows


def ours(bed: Site) -> dict[Path, int]:
    """All that the program could have changed, with its time."""
    places = (bed.backups, bed.state, bed.config.parent)
    return {path: path.stat().st_mtime_ns for place in places for path in (place, *place.rglob("*")) if path.exists()}


def said(bed: Site, status: str) -> list[str]:
    """The messages of this status."""
    return [row["message"] for row in check(bed) if row["status"] == status]


def refused(bed: Site, code: int, *words: str) -> None:
    """`check` says why, and so does `run`, which does nothing else."""
    kept = bed.ids()
    (message,) = said(bed, "FAIL")
    assert all(word in message for word in words), message
    bed.run("run", "app").failed(code, "did not pass validation", *words)
    assert bed.record()["exit_code"] == code
    check_invariants(bed, kept=kept)
    assert bed.ids() == kept

"""How far a job's backups are elsewhere, by the journal and what is remembered of pushes; and what wants a look."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hiveden_backup.core.config.values import Job
from hiveden_backup.core.model import Archive, Manifest
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.journal import Did, Line
from hiveden_backup.host.state.offsites import Facts, Offsites, Place, offsite_lock
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.schedule.offsite_status import OffsiteState, OffsiteStatus, offsite_statuses

OLD, MIDDLE, NEW = "20261125T020000Z", "20261126T020000Z", "20261127T020000Z"
NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
HOUR = 3600.0
FIRST, SECOND = (f"archives/{backup}.hot-0001.tar.zst" for backup in (OLD, NEW))
MANIFEST = Manifest(
    NEW,
    "app",
    "",
    "",
    NOW,
    NOW,
    archives=(Archive(FIRST, 100, "", 0, 0, added=False), Archive(SECOND, 7, "", 0, 0, added=True)),
)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    (tmp_path / "config.toml").write_text(
        f'directory = "{tmp_path}"\n[jobs.app]\npaths = ["/srv"]\n[jobs.none]\npaths = ["/srv"]\noffsite = []\n'
        '[offsite.disk]\nremote = "/mnt/x"\nencrypt = false\n'
    )
    return Installation(tmp_path / "config.toml", tmp_path / "state", lambda: NOW)


def note(installation: Installation, *backups: str, facts: Facts | None = None) -> None:
    """Let these backups be there, and the first archive."""
    known = Offsites(installation.state)
    with offsite_lock(installation.state, "disk") as held:
        lines = [Line(NOW, Did.PUT, layout.archive_sums(FIRST), 1, plain_bytes=100)]
        lines += [Line(NOW, Did.PUT, layout.backup_sums(backup), 1, needs=(FIRST,)) for backup in backups]
        known.note(held, "app", lines)
        if facts is not None:
            known.put_facts(held, "app", facts)


def status(installation: Installation, *here: str, patience: float | None = None) -> OffsiteStatus:
    job = installation.config.jobs["app"]
    (found,) = offsite_statuses(installation, job, here, MANIFEST, patience)
    return found


def test_a_job_that_goes_nowhere_has_no_status(installation: Installation) -> None:
    assert offsite_statuses(installation, installation.config.jobs["none"], (NEW,), MANIFEST, None) == ()
    assert offsite_statuses(installation, Job("app", offsite=()), (NEW,), MANIFEST, None) == ()


def test_all_is_there(installation: Installation) -> None:
    note(installation, OLD, NEW)
    found = status(installation, NEW, MIDDLE, OLD)  # what is older than the newest one there is not owed
    assert (found.state, found.newest, found.lag_seconds, found.lag_bytes) == (OffsiteState.OK, NEW, 0, 0)
    assert [*found.attention] == []


def test_what_lags_does_so_since_the_first_that_is_not_there(installation: Installation) -> None:
    note(installation, OLD)
    found = status(installation, NEW, MIDDLE, OLD)
    assert (found.state, found.newest, found.lag_seconds, found.lag_bytes) == (OffsiteState.WAITING, OLD, 25 * HOUR, 7)
    assert [*found.attention] == []


@pytest.mark.parametrize(("patience", "late"), [(24 * HOUR, True), (26 * HOUR, False), (None, False)])
def test_what_lags_for_twice_the_interval_wants_a_look(
    installation: Installation, patience: float | None, *, late: bool
) -> None:
    note(installation, OLD)
    found = status(installation, NEW, MIDDLE, OLD, patience=patience)
    assert (found.state is OffsiteState.LATE) is late
    assert bool([*found.attention]) is late


def test_nothing_is_there_yet(installation: Installation) -> None:
    found = status(installation, NEW, MIDDLE, OLD)
    assert (found.state, found.newest, found.lag_seconds, found.lag_bytes) == (OffsiteState.NEVER, None, HOUR, 107)
    assert status(installation).state is OffsiteState.NEVER


def test_what_an_older_backup_needs_waits_as_the_push_says(installation: Installation) -> None:
    note(installation, NEW, facts=Facts(waiting_bytes=50, waiting_since=NOW - timedelta(hours=2)))
    found = status(installation, NEW)
    assert (found.state, found.lag_seconds, found.lag_bytes) == (OffsiteState.WAITING, 2 * HOUR, 50)


def test_what_is_at_another_place_does_not_count(installation: Installation) -> None:
    note(installation, NEW, facts=Facts(reconciled=NOW, damaged=("archives/x",)))
    with offsite_lock(installation.state, "disk") as held:
        path = installation.state / "offsite/disk/.place.json"
        path.write_bytes(b"{")
        found = status(installation, NEW)
        assert (found.state, found.newest) == (OffsiteState.FAILED, None)
        assert "not known which place" in " ".join(found.attention)
        path.unlink()
        kept = [each.read_bytes() for each in sorted(path.parent.iterdir())]
        Offsites(installation.state).put_place(held, Place("/mnt/before", "nas-00000000"))
        for each, content in zip(("app.json", "app.jsonl"), kept, strict=True):
            (path.parent / each).write_bytes(content)
    found = status(installation, NEW)
    assert (found.state, found.newest, found.backups, found.lag_bytes) == (OffsiteState.NEVER, None, 0, 107)
    with offsite_lock(installation.state, "disk") as held:
        Offsites(installation.state).put_place(held, Place("/mnt/x", "nas-00000000"))
    assert status(installation, NEW).state is OffsiteState.NEVER


@pytest.mark.parametrize(
    ("facts", "state", "words"),
    [
        (Facts(failures=1, error="The disk is away."), OffsiteState.FAILED, "The disk is away."),
        (
            Facts(damaged=("archives/x",), reconciled=NOW),
            OffsiteState.DAMAGED,
            "1 object is damaged at the",
        ),
        (Facts(damaged=("a", "b"), failures=2), OffsiteState.DAMAGED, "Nothing could be sent"),
    ],
)
def test_failures_and_damage_want_a_look(
    installation: Installation, facts: Facts, state: OffsiteState, words: str
) -> None:
    note(installation, NEW, facts=facts)
    found = status(installation, NEW)
    assert found.state is state
    assert any(words in sentence for sentence in found.attention)
    table = found.table()
    assert (table["damaged"], table["reconciled"]) == (
        len(facts.damaged),
        "2026-11-27T03:00:00Z" if facts.reconciled else None,
    )

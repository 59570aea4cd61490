"""Events: none without an id and its entry in the catalog, and nothing that one knows is lost on its way there."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from hiveden_backup.core import events
from hiveden_backup.core.events import Entry, Event, Kind, Level, journal_fields
from hiveden_backup.core.model import Result
from hiveden_backup.host.systemd.journal import encoded
from hiveden_backup.jobs.services.debts import PaymentResult

CHECKOUT = Path(__file__).resolve().parents[3]
MESSAGE_IDS = {kind.value: kind.message_id for kind in Kind}

EXAMPLES = (
    events.Started("a"),
    events.Finished("a", "20261123T023000Z", 7, 1.5, Result.SUCCESS, 0),
    events.Failed("It {0} failed", 66, "a", "20261123T023000Z", "db", PaymentResult.FAILED),
    events.ContainerStopped("a", "db"),
    events.ContainerStarted("a", "db", 1.5),
    events.Recovered("a", "What became of it", "db", PaymentResult.STARTED),
    events.Pruned("a", 2, 3),
    events.Restored("a", "20261123T023000Z"),
    events.Undone("a", "20261123T023000Z"),
    events.Unusual("a", "20261123T023000Z", "3 of the 4 paths in it are gone"),
)


def entry(event: Event) -> dict[str, str]:
    """What the journal has of an event."""
    return dict(journal_fields(event.entry))


# ---- the list --------------------------------------------------------------------------------------------------------


def test_each_kind_has_an_event_and_each_event_a_kind_of_its_own() -> None:
    assert [example.kind for example in EXAMPLES] == list(Kind)
    every = {value for value in vars(events).values() if isinstance(value, type) and issubclass(value, Event)}
    assert every == {Event, *map(type, EXAMPLES)}


def test_each_kind_has_an_id_of_its_own() -> None:
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in MESSAGE_IDS.values())
    assert len(set(MESSAGE_IDS.values())) == len(Kind)


def test_the_catalog_has_each_kind_of_entry() -> None:
    text = (CHECKOUT / "systemd/hiveden-backup.catalog").read_text("utf-8")
    assert re.findall(r"^-- ([0-9a-f]{32})$", text, re.MULTILINE) == list(MESSAGE_IDS.values())
    assert len(re.findall(r"^Subject: ", text, re.MULTILINE)) == len(MESSAGE_IDS)


def test_the_catalog_names_fields_that_the_entry_has() -> None:
    text = (CHECKOUT / "systemd/hiveden-backup.catalog").read_text("utf-8")
    entries = dict(zip(MESSAGE_IDS, re.split(r"^-- [0-9a-f]{32}$", text, flags=re.MULTILINE)[1:], strict=True))
    for example in EXAMPLES:
        assert set(re.findall("@([A-Z_]+)@", entries[example.kind])) <= entry(example).keys(), example


def test_the_readme_has_each_kind_of_entry() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| ([a-z-]+) \| `([0-9a-f]{32})` \|$", readme, re.MULTILINE)) == MESSAGE_IDS


# ---- entries of the journal ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.kind)
def test_all_that_an_event_knows_is_in_its_entry(example: Event) -> None:
    others: dict[type, object] = {
        str: "other",
        int: 9,
        float: 9.0,
        bool: True,
        Result: PaymentResult.GONE,
        PaymentResult: PaymentResult.GONE,
    }
    for field in fields(example):  # type: ignore[arg-type] # each event is a dataclass
        changed = replace(example, **{field.name: others[type(getattr(example, field.name))]})  # type: ignore[type-var]
        assert entry(changed) != entry(example), field.name


def test_events_become_fields() -> None:
    assert entry(events.Finished("a", "20261123T023000Z", 7, 1.5, Result.PARTIAL, 1)) == {
        "MESSAGE": "Finished backup 20261123T023000Z",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "hiveden-backup",
        "MESSAGE_ID": MESSAGE_IDS["finished"],
        "HIVEDEN_JOB": "a",
        "HIVEDEN_BACKUP": "20261123T023000Z",
        "HIVEDEN_BYTES": "7",
        "HIVEDEN_DURATION_USEC": "1500000",
        "HIVEDEN_RESULT": "partial",
        "HIVEDEN_EXIT_CODE": "1",
    }


def test_a_line_becomes_fields() -> None:
    line = Entry(Level.WARNING, "text", {"job": "a", "bytes": 7, "seconds": 1.5, "phase": None})
    assert journal_fields(line) == {
        "MESSAGE": "text",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "hiveden-backup",
        "HIVEDEN_JOB": "a",
        "HIVEDEN_BYTES": "7",
        "HIVEDEN_DURATION_USEC": "1500000",
    }


def test_values_of_several_lines_have_their_length() -> None:
    assert encoded({"A": "one", "B": "two\nlines"}) == b"A=one\nB\n\x09\0\0\0\0\0\0\0two\nlines\n"
    assert encoded({"A": "\udcff"}) == b"A=\xff\n"

"""The recovery kit as lines and as a drawing: on one sheet, readable, and with nothing in it that drives anything."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hiveden_backup.core.offsite.kit import MOST_COLUMNS, Kit, KitJob, KitPlace, Line, fits, page, svg

KEY = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
KIT = Kit(
    made=datetime(2026, 11, 27, tzinfo=UTC),
    host="nas",
    host_id="1a2b3c4d-0000",
    fingerprint="SHA256:abc",
    public="ssh-ed25519 AAAA hiveden-backup",
    directory="/srv/backups",
    config_file="/etc/hiveden-backup/config.toml",
    places=(KitPlace("b2", "b2:bucket", "nas-1a2b3c4d", ("[b2]", "type = b2"), "", (KEY,)),),
    jobs=(KitJob("immich", ("/srv/<immich> & co",), ("b2",)),),
    recipe=("cd /srv", "  if true; then", "ls; fi"),
)
NAMESPACE = "{http://www.w3.org/2000/svg}"


def text(kit: Kit) -> str:
    return "\n".join(line.text for line in page(kit))


def drawn(lines: list[Line]) -> list[ET.Element]:
    return ET.fromstring(svg(lines)).findall(f"{NAMESPACE}text")


def test_says_all_that_it_is_told() -> None:
    told = text(KIT)
    for part in (
        "nas-1a2b3c4d",
        "SHA256:abc",
        KIT.public,
        "/srv/backups",
        "[b2]",
        "b2:bucket",
        KEY,
        "/srv/<immich> & co",
    ):
        assert part in told
    assert "\n".join(KIT.recipe) in told
    assert "IDENTITY" not in told


def test_without_an_offsite_it_says_so() -> None:
    told = text(replace(KIT, places=()))
    assert "There is no offsite" in told
    assert "hiveden-backup init --directory /srv/backups" in told


def test_the_drawing_has_every_line_within_the_sheet() -> None:
    lines = page(KIT)
    assert [each.text or "" for each in drawn(lines)] == [line.text for line in lines]
    sheet = ET.fromstring(svg(lines))
    assert (sheet.get("width"), sheet.get("height")) == ("210mm", "297mm")
    size = float(sheet.get("font-size") or "")
    assert all(10 <= float(each.get("y") or "") <= 287.001 for each in drawn(lines))
    assert size * 0.605 * max(len(line.text) for line in lines) <= 190.001


def test_a_name_is_neither_markup_nor_a_line_of_its_own() -> None:
    odd = replace(KIT, jobs=(KitJob("a", ("/srv/</text><script>&\x1b[2J\nno\u202e",), ()),))
    assert "\\x1b[2J\\nno\\u202e" in text(odd)
    assert "<script>" not in svg(page(odd))
    assert drawn(page(odd))


@pytest.mark.parametrize("count", [1, 40, 60, 100, 1000])
def test_many_jobs_stay_on_one_sheet(count: int) -> None:
    many = replace(KIT, jobs=tuple(KitJob(f"job{number}", ("/srv/data",), ("b2",)) for number in range(count)))
    lines = page(many)
    assert fits(lines)
    shown = sum(line.text.startswith("job") for line in lines)
    left = re.search(r"and (\d+) more", text(many))
    assert shown + (int(left[1]) if left else 0) == count
    assert shown >= min(count, 60)


def test_some_jobs_are_told_however_many_places_there_are() -> None:
    settings = tuple(f"setting{number} = x" for number in range(20))
    places = tuple(replace(KIT.places[0], name=f"b{number}", settings=settings) for number in range(6))
    jobs = tuple(KitJob(f"job{number}", ("/srv/data",), ("b2",)) for number in range(20))
    told = text(replace(KIT, places=places, jobs=jobs))
    assert "job7 ->" in told
    assert "and 12 more;" in told


def test_what_is_too_long_for_a_line_is_broken() -> None:
    long = replace(KIT, places=(replace(KIT.places[0], recipients=("ssh-rsa " + "A" * 700,)),))
    assert max(len(line.text) for line in page(long)) <= MOST_COLUMNS
    assert re.sub(r"\s", "", text(long)).count("A" * 700) == 1


def test_an_identity_is_on_it_only_when_it_is_given() -> None:
    told = text(replace(KIT, identity=("AGE-SECRET-KEY-1ABC",)))
    assert "AGE-SECRET-KEY-1ABC" in told
    assert "whoever reads it" in told

"""What lies at an offsite is read back, a month's budget at a time, and what is not as it was sent is found."""

import subprocess
from pathlib import Path

import pytest

from hiveden_backup.core.errors import DeniedError, UnreachableError
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.compare import Wrong
from hiveden_backup.host.state.key import this_key
from hiveden_backup.jobs.offsite.findings import Finding
from hiveden_backup.jobs.offsite.verify import verify
from tests.support.meddler import DROP, PASS
from tests.support.offsite_places import Place, is_listing
from tests.support.offsite_sent import HOST, Make


def identity(path: Path) -> tuple[Path, str]:
    """A new key of age, and its public part."""
    subprocess.run(["age-keygen", "-o", path], check=True, capture_output=True)
    done = subprocess.run(["age-keygen", "-y", path], check=True, capture_output=True, text=True)
    return path, done.stdout.strip()


@pytest.fixture
def sent(sent_there: Make) -> Make:
    """Not the one of the tests that read backups from there."""
    return sent_there


def test_all_of_it_is_read_and_proved(sent: Make, s3_place: Place) -> None:
    made = sent(s3_place)
    found = verify(made.visit)
    assert (found.findings, found.objects) == ((), len(made.visit.there().objects))
    assert found.read == found.objects - 4  # but for two sums and their signatures, which count as bytes
    assert found.bytes == sum(s3_place.listing().values())
    assert found.since is not None
    assert found.left == made.visit.remote.offsite.verify_budget - found.bytes


def test_without_a_key_bytes_are_proved_and_with_it_contents(sent: Make, disk_place: Place, tmp_path: Path) -> None:
    key, public = identity(tmp_path / "key")
    made = sent(disk_place, encrypt=True, recipients=(public,))
    assert verify(made.visit).findings == ()
    assert verify(made.visit, key).findings == ()
    other, _ = identity(tmp_path / "other")
    with pytest.raises(DeniedError, match="does not open"):
        verify(made.visit, other)


def test_what_was_changed_under_its_size_is_found(sent: Make, disk_place: Place) -> None:
    made = sent(disk_place)
    name = made.object(".0000")
    whole = made.place.get(f"{HOST}/home/{name}")
    made.damage(name, b"x" * len(whole))
    assert verify(made.visit).findings == (Finding(name, Wrong.REPLACED, True),)
    made.push()
    assert made.place.get(f"{HOST}/home/{name}") == whole
    assert verify(made.visit).findings == ()


def test_what_cannot_be_sent_again_is_damaged_until_it_is_read_well(sent: Make, disk_place: Place) -> None:
    made = sent(disk_place)
    name = made.object(".0001")
    whole = made.place.get(f"{HOST}/home/{name}")
    made.evict()
    made.remove(name)
    assert verify(made.visit).findings == (Finding(name, Wrong.MISSING, False),)
    assert made.visit.facts().damaged == (name,)
    made.damage(name, whole)
    assert verify(made.visit).findings == ()
    assert made.visit.facts().damaged == ()


def test_a_budget_is_for_a_month_and_what_was_not_read_for_longest_comes_first(
    sent: Make, disk_place: Place, tmp_path: Path
) -> None:
    _, public = identity(tmp_path / "key")
    made = sent(disk_place, encrypt=True, recipients=(public,), verify_budget=6000)
    first = verify(made.visit)
    assert 0 < first.read < first.objects - 4
    assert first.bytes <= 6000
    assert first.since is None
    again = verify(made.visit)
    assert (again.read, again.bytes) == (0, 0)
    read = set(made.visit.offsites.checked("there", "home").objects)
    made = made.with_settings(verify_budget=1 << 20)
    rest = verify(made.visit, most=first.bytes)
    assert rest.read
    assert read < set(made.visit.offsites.checked("there", "home").objects)


def test_sums_that_somebody_else_signed_are_forged(sent: Make, disk_place: Place, tmp_path: Path) -> None:
    made = sent(disk_place)
    made.evict()
    (archive,) = made.visit.there().archives
    name = layout.archive_sums(archive)
    (tmp_path / "other").mkdir()
    with this_key(tmp_path / "other").signing(made.place.get(f"{HOST}/home/{name}")) as signature:
        made.damage(layout.signature_of(name), signature())
    assert verify(made.visit).findings == (Finding(name, Wrong.FORGED, False),)


@pytest.mark.parametrize("which", [".0000", "sums"])
def test_what_reads_as_empty_keeps_nothing_else_from_being_read(sent: Make, disk_place: Place, which: str) -> None:
    made = sent(disk_place)
    name = made.object(which) if which != "sums" else layout.archive_sums(next(iter(made.visit.there().archives)))
    made.damage(name, b"")
    found = verify(made.visit)
    assert found.findings == (Finding(name, Wrong.TRUNCATED, True),)
    assert set(made.visit.offsites.checked("there", "home").objects) >= {made.object("manifest.json")}


def test_what_is_listed_and_cannot_be_read_is_told_apart(sent: Make, s3_place: Place) -> None:
    made = sent(s3_place)
    name = made.object(".0000")
    gone = "404 NoSuchKey"
    s3_place.meddler.rule = lambda _method, path: gone if name in path else PASS
    assert verify(made.visit).findings == (Finding(name, Wrong.UNREADABLE, True),)
    s3_place.meddler.rule = lambda method, path: PASS if is_listing(method, path) else gone
    with pytest.raises(UnreachableError, match="could not be read"):
        verify(made.visit)


def test_what_was_read_beside_what_cannot_be_read_counts(sent: Make, s3_place: Place, tmp_path: Path) -> None:
    _, public = identity(tmp_path / "key")
    made = sent(s3_place, encrypt=True, recipients=(public,))
    last = made.object(".0001.age")
    s3_place.meddler.rule = lambda _method, path: DROP if last in path else PASS
    assert verify(made.visit).findings == (Finding(last, Wrong.UNREADABLE, True),)
    checked = made.visit.offsites.checked("there", "home")
    assert checked.objects
    assert checked.bytes

"""What lies at an offsite is held against the journal: what is gone is sent again, or is called damaged."""

from dataclasses import replace
from pathlib import Path

import pytest

from hiveden_backup.core.errors import UnreachableError
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.compare import Wrong
from hiveden_backup.host.state.key import this_key
from hiveden_backup.jobs.offsite.findings import Finding
from hiveden_backup.jobs.offsite.reconcile import reconcile
from tests.support.meddler import OLD, PASS
from tests.support.offsite_places import Place, is_listing
from tests.support.offsite_sent import HOST, Make


@pytest.fixture
def sent(sent_there: Make) -> Make:
    """Not the one of the tests that read backups from there."""
    return sent_there


def test_what_is_as_it_was_sent_is_left_alone(sent: Make, each_place: Place) -> None:
    made = sent(each_place)
    before = made.place.listing()
    found = reconcile(made.visit)
    assert (found.findings, found.learned, found.strays, found.foreign) == ((), 0, (), ())
    assert found.objects == len(before) == len(made.visit.there().objects)
    assert found.bytes == sum(before.values())
    assert made.place.listing() == before
    assert made.visit.facts().reconciled


@pytest.mark.parametrize(
    "each_place", ["s3", pytest.param("sftp", marks=pytest.mark.slow), "webdav", "disk"], indirect=True
)
def test_what_is_gone_or_cut_short_is_sent_again(sent: Make, each_place: Place) -> None:
    made = sent(each_place)
    gone, short = made.object(".0000"), made.object(".0001")
    before = made.place.listing()
    made.remove(gone)
    made.damage(short, b"x" * 10)
    found = reconcile(made.visit)
    assert set(found.findings) == {Finding(gone, Wrong.MISSING, True), Finding(short, Wrong.TRUNCATED, True)}
    assert not made.visit.there().backups
    assert reconcile(made.visit).findings  # not forgotten before it was mended
    made.push()
    assert made.place.listing() == before
    assert made.visit.there().backups
    assert reconcile(made.visit).findings == ()
    assert made.visit.facts().doubted == ()


def test_what_was_replaced_is_seen_where_the_place_knows_digests(sent: Make, s3_place: Place) -> None:
    made = sent(s3_place)
    name = made.object(".0000")
    whole = made.place.get(f"{HOST}/home/{name}")
    made.damage(name, b"x" * len(whole))
    assert reconcile(made.visit).findings == (Finding(name, Wrong.REPLACED, True),)
    assert reconcile(made.visit).findings == (Finding(name, Wrong.DOUBTED, True),)
    made.push()
    assert made.place.get(f"{HOST}/home/{name}") == whole
    assert reconcile(made.visit).findings == ()


def test_what_cannot_be_sent_again_is_damaged(sent: Make, disk_place: Place) -> None:
    made = sent(disk_place)
    name = made.object(".0000")
    made.evict()
    made.remove(name)
    found = reconcile(made.visit)
    assert found.findings == (Finding(name, Wrong.MISSING),)
    assert made.visit.facts().damaged == (name,)
    assert name in made.visit.there().objects


def test_what_is_damaged_here_is_not_said_to_be_sent_again(sent: Make, disk_place: Place) -> None:
    made = sent(disk_place)
    name = made.object(".0000")
    (archive,) = (made.home.backups / "home/archives").iterdir()
    whole = archive.read_bytes()
    archive.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    made.home.run("verify", "--all").failed(65)
    made.remove(name)
    assert reconcile(made.visit).findings == (Finding(name, Wrong.MISSING),)
    archive.write_bytes(whole)
    made.home.run("verify", "--all").succeeded()
    assert [each.sent_again for each in reconcile(made.visit).findings] == [True]


@pytest.mark.parametrize("each_place", ["s3", "webdav"], indirect=True)
def test_an_emptied_place_is_filled_again(sent: Make, each_place: Place) -> None:
    made = sent(each_place)
    before = made.place.listing()
    made.place.empty()
    found = reconcile(made.visit)
    assert {each.wrong for each in found.findings} == {Wrong.MISSING}
    assert all(each.sent_again for each in found.findings)
    assert not made.visit.there().objects
    made.push()
    assert made.place.listing() == before


def test_an_old_listing_is_not_believed(sent: Make, s3_place: Place) -> None:
    made = sent(s3_place)
    made.remove(made.object(".0000"))
    reconcile(made.visit)
    made.push()
    before = (made.place.listing(), made.visit.there().objects)
    s3_place.meddler.rule = lambda method, path: OLD if is_listing(method, path) else PASS
    with pytest.raises(UnreachableError, match="not to be believed"):
        reconcile(made.visit)
    assert (made.place.listing(), made.visit.there().objects) == before


@pytest.mark.parametrize("kind", ["s3", "disk"])
def test_a_lost_journal_is_made_again_without_a_key(kind: str, request: pytest.FixtureRequest, sent: Make) -> None:
    made = sent(request.getfixturevalue(f"{kind}_place"))
    before = made.visit.there().objects
    (made.home.state / "offsite/there/home.jsonl").unlink()
    found = reconcile(made.visit)
    assert found.learned == len(before)
    after = made.visit.there()
    assert after.objects.keys() == before.keys()
    for name, line in after.objects.items():
        assert replace(line, at=before[name].at, md5="") == replace(before[name], md5="")
    assert reconcile(made.visit).learned == 0


def test_a_lost_journal_is_not_made_of_what_is_not_whole(sent: Make, disk_place: Place) -> None:
    made = sent(disk_place)
    name = made.object(".0000")
    (made.home.state / "offsite/there/home.jsonl").unlink()
    made.remove(name)
    found = reconcile(made.visit)
    assert found.findings == (Finding(name, Wrong.MISSING, True),)
    assert not made.visit.there().backups
    made.push()
    assert made.visit.there().backups
    assert reconcile(made.visit).findings == ()


def test_what_somebody_else_signed_is_forged(sent: Make, disk_place: Place, tmp_path: Path) -> None:
    made = sent(disk_place)
    (name,) = made.visit.there().marked
    name = layout.backup_sums(name)
    content = made.place.get(f"{HOST}/home/{name}")
    (tmp_path / "other").mkdir()
    with this_key(tmp_path / "other").signing(content) as signature:
        made.damage(layout.signature_of(name), signature())
    (made.home.state / "offsite/there/home.jsonl").unlink()
    found = reconcile(made.visit)
    assert Finding(name, Wrong.FORGED, True) in found.findings
    assert not made.visit.there().backups


def test_empty_sums_that_somebody_planted_hold_nothing_up(sent: Make, disk_place: Place) -> None:
    made = sent(disk_place)
    name, planted = made.object(".0000"), layout.backup_sums("20200101T000000Z")
    made.remove(name)
    for each in (planted, layout.signature_of(planted)):
        made.damage(each, b"")
    found = reconcile(made.visit)
    assert Finding(name, Wrong.MISSING, True) in found.findings
    assert Finding(planted, Wrong.TRUNCATED, False) in found.findings
    assert made.visit.facts().reconciled


def test_strays_go_when_nothing_will_need_them(sent: Make, disk_place: Place) -> None:
    made = sent(disk_place)
    archive = "archives/20200101T000000Z.hot-0001.tar.zst"
    ours = [f"{archive}.0000", f"{archive}.0001.age.1a2b3c4d.partial"]
    current = made.object(".0000").removesuffix("0000") + "0099"
    for name in (*ours, current, "somebody's"):
        made.damage(name, b"x")
    found = reconcile(made.visit)
    assert (sorted(found.removed), found.strays, found.foreign) == (ours, (), ("somebody's",))
    assert not {f"{HOST}/home/{name}" for name in ours} & made.place.listing().keys()
    assert f"{HOST}/home/{current}" in made.place.listing()

"""What lies at an offsite is called."""

import pytest

from hiveden_backup.core.names import encode
from hiveden_backup.core.offsite import layout

ARCHIVE = "archives/20261101T023000Z.hot-0001.tar.zst"
BACKUP = "20261123T023000Z"
ID = "6e1f2a30-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("nas", "nas-6e1f2a30"),
        ("NAS.local", "NAS.local-6e1f2a30"),
        ("my nas/../x", "my-nas-..-x-6e1f2a30"),
        ("..", "host-6e1f2a30"),
        ("", "host-6e1f2a30"),
        ("-x", "x-6e1f2a30"),
        ("münze\n", "m-nze--6e1f2a30"),
        ("x" * 300, "x" * 64 + "-6e1f2a30"),
    ],
)
def test_a_hosts_folder_is_fit_for_any_place(name: str, folder: str) -> None:
    assert layout.host_folder(name, ID) == folder
    assert layout.is_host_folder(folder)


@pytest.mark.parametrize(
    "name", ["", "nas", ".status", "..-6e1f2a30", "a/b-6e1f2a30", "nas-6E1F2A30", f"{'x' * 65}-6e1f2a30"]
)
def test_other_folders_are_no_hosts(name: str) -> None:
    assert not layout.is_host_folder(name)


@pytest.mark.parametrize(("size", "count"), [(0, 1), (1, 1), (100, 1), (101, 2), (200, 2), (201, 3)])
def test_slices_are_counted(size: int, count: int) -> None:
    assert layout.slice_count(size, 100) == count


def test_a_file_of_a_million_slices_is_refused() -> None:
    with pytest.raises(ValueError, match="slices"):
        layout.slice_count(10**6 + 1, 1)


@pytest.mark.parametrize("encrypted", [True, False])
def test_every_object_is_told_whose_it_is(*, encrypted: bool) -> None:
    dump = f"{BACKUP}/database.{encode('pg.1')}.{encode('a b/c')}.dump.zst"
    sums, marker = layout.archive_sums(ARCHIVE), layout.backup_sums(BACKUP)
    archives = [sums, layout.signature_of(sums)]
    archives += [layout.slice_object(ARCHIVE, number, encrypted=encrypted) for number in (0, 9999, 10000)]
    backups = [marker, layout.signature_of(marker), layout.slice_object(dump, 3, encrypted=encrypted)]
    backups += [
        layout.file_object(f"{BACKUP}/{name}", encrypted=encrypted) for name in ("manifest.json", "files.archives")
    ]
    assert {layout.owner(name) for name in archives} == {ARCHIVE}
    assert {layout.owner(name) for name in backups} == {BACKUP}
    assert layout.summed_archive(sums) == ARCHIVE
    assert layout.summed_backup(marker) == BACKUP
    assert layout.backup_signature(BACKUP) == layout.signature_of(marker)
    for name in (*archives, *backups):
        assert layout.is_of_job(layout.job_object("nas-6e1f2a30", "immich", name)) == ("nas-6e1f2a30", "immich", name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ARCHIVE,
        f"{ARCHIVE}.age",
        f"{ARCHIVE}.sig",
        f"{ARCHIVE}.00.age",
        "archives/../x.0000.age",
        "archives/x.tar.zst.0000.age",
        f"{BACKUP}/",
        f"{BACKUP}/..",
        f"{BACKUP}/.x",
        f"{BACKUP}/a/b",
        "20261399T023000Z/manifest.json.age",
        ".owner.json",
        "x",
    ],
)
def test_what_is_not_ours_is_nobodys(name: str) -> None:
    assert not layout.is_object(name)
    assert layout.summed_archive(name) is None
    assert layout.summed_backup(name) is None


def test_signatures_of_sums_are_no_sums() -> None:
    assert layout.summed_archive(layout.signature_of(layout.archive_sums(ARCHIVE))) is None
    assert layout.summed_backup(layout.backup_signature(BACKUP)) is None

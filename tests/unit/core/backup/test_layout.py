"""The names in a backup directory: what is made is recognized, and so is what backups of 0.1.0 have."""

import pytest

from hiveden_backup.core.backup import layout

ID = "20261123T023000Z"
OLDER = (f"{ID}.hot.tar.zst", f"{ID}.hot-2.tar.zst", f"{ID}.cold.tar.zst")


def test_names() -> None:
    assert layout.hot_archive(ID, 1) == f"{ID}.hot-0001.tar.zst"
    assert layout.hot_archive(ID, 12345) == f"{ID}.hot-12345.tar.zst"
    assert layout.cold_archive(ID, 2) == f"{ID}.cold-0002.tar.zst"
    assert layout.archive_path(layout.cold_archive(ID, 1)) == f"archives/{ID}.cold-0001.tar.zst"
    assert layout.dump("10.0.0.1:5433", "Shop/ü") == "database.10%2E0%2E0%2E1%3A5433.Shop%2F%C3%BC.dump.zst"
    assert layout.globals_of("db") == "globals.db.sql.zst"
    assert layout.incoming(ID) == f".incoming-{ID}"
    assert layout.incoming_checkpoint(ID) == f".incoming-checkpoint-{ID}"
    assert (layout.deleting(ID, "x"), layout.deleting(".checkpoint", "x")) == (
        f".deleting-{ID}-x",
        ".deleting-checkpoint-x",
    )


def test_what_is_made_is_recognized() -> None:
    for name in (layout.hot_archive(ID, 1), layout.hot_archive(ID, 12345), layout.cold_archive(ID, 1), *OLDER):
        assert layout.is_archive_path(layout.archive_path(name))
    for name in (layout.incoming(ID), layout.incoming_checkpoint(ID), layout.deleting(ID, "x")):
        assert layout.is_leftover(name)
    assert not any(layout.is_leftover(name) for name in (ID, layout.CHECKPOINT, layout.ARCHIVES))
    assert layout.is_globals(layout.globals_of("a.b"))
    assert layout.globals_beside(layout.dump("a.b", "c.d")) == layout.globals_of("a.b")
    assert layout.globals_beside("dump.zst") is None


@pytest.mark.parametrize("name", ["", "x", f"{ID}.warm.tar.zst", f"{ID}.hot.tar.zst\n", f"../{ID}.hot.tar.zst"])
def test_what_is_no_archive(name: str) -> None:
    assert not layout.is_archive(name)
    with pytest.raises(ValueError, match="is no archive"):
        layout.parse_archive_list(f"archives/{name}\n".encode())
    with pytest.raises(ValueError, match="is no archive"):
        layout.parse_archive_list(f"{ID}.hot.tar.zst\n".encode())


def test_lists() -> None:
    paths = (f"archives/{ID}.hot.tar.zst", f"archives/{ID}.cold.tar.zst")
    assert layout.archive_list(paths) == f"archives/{ID}.hot.tar.zst\narchives/{ID}.cold.tar.zst\n".encode()
    assert layout.parse_archive_list(layout.archive_list(paths)) == paths
    assert layout.parse_archive_list(b"") == ()
    digests = {"manifest.json": "ab", "database.s.d.dump.zst": "cd"}
    assert layout.sums(digests.items()) == b"ab  manifest.json\ncd  database.s.d.dump.zst\n"
    assert layout.parse_sums(layout.sums(digests.items())) == digests
    assert layout.parse_sums(b"") == {}
    for damaged in (b"ab manifest.json\n", b"ab  \n", b"\n", b"ab  ../x\n", b"\n\n"):
        with pytest.raises(ValueError, match="It has the line"):
            layout.parse_sums(damaged)

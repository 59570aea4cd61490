"""Where an act may keep its trees, by what is known of the directories on the way and of the containers that run."""

import stat

import pytest

from hiveden_backup.core.holder_places import Directory, Spot, Writer, beside, called, rooted

DISK = "8:1"


def directory(path: str, owner: int = 0, mode: int = 0o755, mount: int = 1, device: int = 1) -> Directory:
    return Directory(path, mount, device, owner, stat.S_IFDIR | mode, (DISK, path))


def writer(source: str, *spots: tuple[str, str]) -> Writer:
    return Writer("id", "app", source, spots or ((DISK, source),))


WAY = tuple(directory(path) for path in ("/", "/srv", "/srv/apps", "/srv/apps/shop"))


def paths(*way: Directory, writers: tuple[Writer, ...] = ()) -> list[str]:
    return [each.path for each in rooted(way, writers)]


def test_the_topmost_directory_comes_first() -> None:
    assert paths(*WAY) == ["/", "/srv", "/srv/apps", "/srv/apps/shop"]


@pytest.mark.parametrize(
    ("owner", "mode", "ours"),
    [
        (0, 0o755, True),
        (0, 0o700, True),
        (0, 0o1777, True),
        (0, 0o775, False),
        (0, 0o757, False),
        (1000, 0o755, False),
        (1000, 0o1777, False),
    ],
)
def test_below_what_others_can_change_names_in_nothing_is_roots_own(owner: int, mode: int, ours: bool) -> None:  # noqa: FBT001 - of parametrize
    way = (*WAY[:2], directory("/srv/apps", owner, mode), WAY[3])
    assert paths(*way) == [each.path for each in (way if ours else way[:2])]


def test_only_the_same_mount_and_device_take_renames() -> None:
    mounted = (*WAY[:2], *(directory(each.path, mount=2) for each in WAY[2:]))
    assert paths(*mounted) == ["/srv/apps", "/srv/apps/shop"]
    subvolume = (*WAY[:3], directory("/srv/apps/shop", device=2))
    assert paths(*subvolume) == ["/srv/apps/shop"]
    under_a_users = (directory("/"), directory("/home", 1000), directory("/home/disk", mount=2))
    assert paths(*under_a_users) == []


def test_what_a_running_container_can_write_to_is_no_place() -> None:
    assert paths(*WAY, writers=(writer("/srv/apps"),)) == ["/", "/srv"]
    assert paths(*WAY, writers=(writer("/srv/apps/shop/data"),)) == [each.path for each in WAY]
    assert paths(*WAY, writers=(writer("/"),)) == []


def test_another_name_of_the_same_directory_counts() -> None:
    """A bind mount shows it elsewhere, or below what the container sees."""
    assert paths(*WAY, writers=(writer("/mnt/alias", (DISK, "/srv")),)) == ["/"]
    assert paths(*WAY, writers=(writer("/mnt", ("8:2", "/"), (DISK, "/srv/apps")),)) == ["/", "/srv"]
    assert paths(*WAY, writers=(writer("/mnt/alias", ("8:2", "/srv")),)) == [each.path for each in WAY]


def test_beside_it_tells_who_can_write() -> None:
    near, far, below = writer("/srv/apps"), writer("/home"), writer("/srv/apps/shop/data")
    candidate = beside(WAY, (near, far, below))
    assert (candidate.path, candidate.writers) == ("/srv/apps/shop", (near,))


@pytest.mark.parametrize(
    ("spot", "path", "of_path", "name"),
    [
        ((DISK, "/app"), "/srv/app", (DISK, "/app"), "/srv/app"),
        ((DISK, "/app/data"), "/srv/app", (DISK, "/app"), "/srv/app/data"),
        ((DISK, "/app/data"), "/srv", (DISK, "/"), "/srv/app/data"),
        ((DISK, "/data"), "/", (DISK, "/"), "/data"),
        ((DISK, "/store"), "/srv/app/data", (DISK, "/store/app/data"), "/srv"),
        ((DISK, "/"), "/srv/app", (DISK, "/app"), "/srv"),
        ((DISK, "/"), "/srv", (DISK, "/a/b/c"), "/"),
        ((DISK, "/application"), "/srv/app", (DISK, "/app"), None),
        (("8:2", "/app"), "/srv/app", (DISK, "/app"), None),
    ],
)
def test_a_spot_has_a_name_from_where_another_one_is_known(
    spot: Spot, path: str, of_path: Spot, name: str | None
) -> None:
    assert called(spot, path, of_path) == name

"""Volumes that an in-place restore makes anew are what they were: Compose knows them again by their labels."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from docker.errors import NotFound

from tests.support.dockerd import Engine, unique_name
from tests.support.forge import forged
from tests.support.job import Site, site

COMPOSE = {"com.docker.compose.project": "shop", "com.docker.compose.volume": "data", "com.docker.compose.version": "2"}


@pytest.fixture
def made(engine: Engine, tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, engine.url) as installation:
        yield installation


@pytest.mark.parametrize("labels", [COMPOSE, {}])
def test_made_anew(made: Site, engine: Engine, labels: dict[str, str]) -> None:
    """A volume without labels is made without: an external one, or an anonymous one of an older Docker."""
    name = unique_name("volume")
    volume = Path(engine.api.create_volume(name, labels=labels)["Mountpoint"])
    (volume / "word").write_text("then")
    made.configure({"app": {"volumes": [name]}})
    made.init().run("run", "app").succeeded()
    assert made.manifest()["volumes"] == [{"name": name, "labels": labels, "options": {}}]
    before = engine.api.inspect_volume(name)
    engine.api.remove_volume(name)
    made.run("restore", "app/latest", "--in-place", "--yes").succeeded()
    after = engine.api.inspect_volume(name)
    for each in ("Driver", "Labels", "Mountpoint", "Scope"):
        assert after[each] == before[each]
    assert not after["Options"]  # {} and null say the same
    assert (volume / "word").read_text() == "then"


def recorded(made: Site, volumes: Sequence[Mapping[str, object]] | None) -> None:
    """Let the newest manifest say something else of its volumes, or nothing."""
    with forged(made.job() / made.ids()[0]) as backup:
        backup.manifest.pop("volumes", None)
        backup.manifest.update({} if volumes is None else {"volumes": volumes})


def test_what_cannot_be_as_it_was_is_told(made: Site, engine: Engine) -> None:
    name = unique_name("volume")
    volume = Path(engine.api.create_volume(name, labels=COMPOSE)["Mountpoint"])
    (volume / "word").write_text("then")
    made.configure({"app": {"volumes": [name]}})
    made.init().run("run", "app").succeeded()
    engine.api.remove_volume(name)
    was = {"name": name, "labels": COMPOSE, "options": {}}

    recorded(made, [{**was, "options": {"size": "10m"}}])  # as made on an XFS with project quotas
    done = made.run("restore", "app/latest", "--in-place", "--yes")
    done.failed(1, "cannot be made as it was", "quota", f"docker volume create {name}")
    recorded(made, [{**was, "options": {"type": "none", "o": "bind", "device": "/etc"}}])
    made.run("restore", "app/latest", "--in-place", "--yes").failed(65, "some other place of this machine")
    with pytest.raises(NotFound):
        engine.api.inspect_volume(name)

    recorded(made, [{**was, "options": {"o": "password=***"}}])
    done = made.run("restore", "app/latest", "--in-place", "--yes").succeeded()
    assert f"The volume {name} was made without password" in done.err
    assert engine.api.inspect_volume(name)["Labels"] == COMPOSE
    engine.api.remove_volume(name)
    recorded(made, None)
    done = made.run("restore", "app/latest", "--in-place", "--yes").succeeded()
    assert f"The volume {name} was made without labels and options" in done.err
    assert (volume / "word").read_text() == "then"

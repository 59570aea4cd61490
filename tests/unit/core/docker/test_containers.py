"""What a container's description says of its state."""

from datetime import UTC, datetime, timedelta

import pytest

from hiveden_backup.core.docker.containers import Container

NOW = datetime(2026, 11, 23, 23, 2, 0, tzinfo=UTC)


def container(**fields: object) -> Container:
    known: dict[str, object] = {
        "id": "a" * 64,
        "name": "web",
        "image": "i",
        "image_id": "sha256:0",
        "status": "running",
        "running": True,
        "started_at": "2026-11-23T23:01:52.550609979Z",
    }
    return Container(**(known | fields))  # type: ignore[arg-type]  # what a test gives is right


def test_one_that_waits_to_be_restarted_is_restless() -> None:
    assert container(restarting=True).restless(NOW)


def test_one_that_was_restarted_a_moment_ago_is_restless() -> None:
    assert container(restarts=3).restless(NOW)
    assert not container(restarts=3).restless(NOW + timedelta(seconds=3)), "it has run for ten seconds since"
    assert not container(restarts=0).restless(NOW), "somebody has just started it"
    assert not container(restarts=3, running=False).restless(NOW)


@pytest.mark.parametrize("text", ["", "yesterday", "0001-01-01T00:00:00Z"])
def test_a_start_that_is_not_known_was_long_ago(text: str) -> None:
    assert not container(restarts=3, started_at=text).restless(NOW)


def test_who_manages_it() -> None:
    assert container().manager == ""
    assert container(labels={"com.docker.swarm.service.name": "web"}).manager == "Swarm"

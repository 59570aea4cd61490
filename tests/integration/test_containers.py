"""Containers and volumes on a real Engine."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hiveden_backup.core.docker.containers import ContainerMount
from hiveden_backup.core.docker.stop_order import stop_order
from hiveden_backup.core.errors import ContainerError, Interrupted, NotFoundError, UnreachableError
from hiveden_backup.host.docker.engine import Docker, connect
from hiveden_backup.host.signals import raise_on_signals
from tests.support.dockerd import IGNORE_TERM, KEEP_RUNNING, Engine, unique_name


@pytest.fixture
def docker(engine: Engine) -> Iterator[Docker]:
    with connect(engine.url) as docker:
        yield docker


# ---- reaching it -----------------------------------------------------------------------------------------------------


def test_ping_gives_the_version(docker: Docker) -> None:
    assert docker.ping()[0].isdecimal()


def test_address_from_the_environment(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    with connect() as docker:
        assert docker.address == engine.url


@pytest.mark.parametrize("url", ["unix:///nowhere/docker.sock", "unix://nowhere/docker.sock", "tcp://127.0.0.1:1"])
def test_nobody_there(url: str) -> None:
    with pytest.raises(UnreachableError) as caught, connect(url):
        pass
    assert caught.value.exit_code == 69
    assert f"Docker does not answer at {url}" in str(caught.value)
    assert "No such file" in str(caught.value) or "refused" in str(caught.value)


@pytest.mark.parametrize("url", ["ssh://root@nas", "https://nas:2376", "/run/docker.sock", "tcp://nas:port"])
def test_only_the_engine_of_this_machine(url: str) -> None:
    with pytest.raises(UnreachableError) as caught, connect(url):
        pass
    assert caught.value.exit_code == 69


def test_somebody_else_there(tmp_path: Path) -> None:
    """What listens is not Docker, and what it says is no HTTP."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def answer() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(1000)
                    connection.sendall(b"220 mail ready\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(UnreachableError, match="Docker does not answer"), connect(f"unix://{path}"):
            pass
        thread.join()


def test_hung_engine_is_given_up(private_dockerd: Engine) -> None:
    os.kill(private_dockerd.pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(UnreachableError, match="timed out"), connect(private_dockerd.url, answer_timeout=1):
            pass
        assert time.monotonic() - begun < 10
    finally:
        os.kill(private_dockerd.pid, signal.SIGCONT)


def test_engine_stopped_under_our_hands_and_back(private_dockerd: Engine) -> None:
    """Every call says 69 then; the same connection works again when the Engine is back."""
    private_dockerd.run(name="web")
    with connect(private_dockerd.url) as docker:
        web = docker.container("web")
        private_dockerd.stop()
        for call in (
            docker.ping,
            docker.containers,
            lambda: docker.container("web"),
            lambda: docker.volume("web"),
            lambda: docker.stop(web, 1),
            lambda: docker.start(web),
            lambda: docker.wait_running(web, 1),
            lambda: docker.exec_stream(web, ["true"]).__enter__(),
        ):
            with pytest.raises(UnreachableError) as caught:
                call()
            assert caught.value.exit_code == 69
        private_dockerd.start()
        docker.start(web)
        assert docker.wait_running(web, 10).up


# ---- looking ---------------------------------------------------------------------------------------------------------


def test_container_as_a_value(engine: Engine, docker: Docker, tmp_path: Path) -> None:
    volume = unique_name("v")
    data = engine.run(name=unique_name("data"))
    name = engine.run(
        binds=[f"{tmp_path}:/srv:ro", f"{volume}:/data"],
        tmpfs={"/scratch": ""},
        pid_mode=f"container:{data}",
        volumes_from=[f"{data}:ro"],
        config={"labels": {"a": "b"}, "environment": {"PGPASSWORD": "hunter2", "ODD": "x=y"}},
    )
    found = docker.container(name)
    assert (found.name, len(found.id), found.image) == (name, 64, "test-busybox")
    assert found.image_id.startswith("sha256:")
    assert found.running
    assert found.up
    assert (found.paused, found.restarting, found.auto_remove) == (False, False, False)
    assert found.pid > 1
    assert found.started_at.startswith("2")
    assert found.health is None
    assert found.labels == {"a": "b"}
    assert found.environment["PGPASSWORD"] == "hunter2"
    assert found.environment["ODD"] == "x=y"
    assert "hunter2" not in repr(found)
    assert found.network_mode == "none"
    assert found.pid_mode == f"container:{docker.container(data).id}"
    assert found.volumes_from == (data,)
    by_destination = {mount.destination: mount for mount in found.mounts}
    assert by_destination["/srv"] == ContainerMount("bind", "", str(tmp_path), "/srv", writable=False)
    mountpoint = docker.volume(volume).mountpoint
    assert by_destination["/data"] == ContainerMount("volume", volume, mountpoint, "/data", writable=True)
    assert docker.container(found.id) == found
    assert found in docker.containers()
    base = docker.container(data)
    assert stop_order([base, found]) == [found, base]


def test_a_wrong_name_gives_the_closest(engine: Engine, docker: Docker) -> None:
    engine.create(name="immich_server")
    with pytest.raises(NotFoundError) as caught:
        docker.container("imich_server")
    assert caught.value.exit_code == 66
    assert "Did you mean immich_server?" in str(caught.value)
    with pytest.raises(NotFoundError, match="docker ps --all"):
        docker.container("qqqq")


def test_the_beginning_of_an_id_is_no_name(engine: Engine, docker: Docker) -> None:
    """Docker takes it for one, so a missing `db` would stop a container whose id begins with db."""
    found = docker.container(engine.create())
    for length in (1, 2, 12, 63):
        with pytest.raises(NotFoundError):
            docker.container(found.id[:length])


@pytest.mark.parametrize("name", ["", "../images/json", "a/b", "a b", ".", "-x", "ä", "a\n"])
def test_odd_names_are_nobody(docker: Docker, name: str) -> None:
    with pytest.raises(NotFoundError):
        docker.container(name)
    with pytest.raises(NotFoundError):
        docker.volume(name)


def test_volume_as_a_value(engine: Engine, docker: Docker, tmp_path: Path) -> None:
    name, options = unique_name("v"), {"type": "none", "o": "bind", "device": str(tmp_path)}
    engine.api.create_volume(name, driver="local", driver_opts=options)
    found = docker.volume(name)
    assert (found.name, found.driver, found.options) == (name, "local", options)
    assert Path(found.mountpoint).is_dir()
    with pytest.raises(NotFoundError, match=f"Did you mean {name}"):
        docker.volume(name[:-1])


def test_all_containers_running_or_not(engine: Engine, docker: Docker) -> None:
    made = sorted([engine.run(), engine.create()])
    assert [one.name for one in docker.containers() if one.name in made] == made


def test_auto_remove_is_seen(engine: Engine, docker: Docker) -> None:
    assert docker.container(engine.run(auto_remove=True)).auto_remove


def test_paused_counts_as_running(engine: Engine, docker: Docker) -> None:
    name = engine.run()
    engine.api.pause(name)
    found = docker.container(name)
    assert found.running
    assert found.paused
    assert found.up


# ---- stopping and starting -------------------------------------------------------------------------------------------


def test_stop_and_start(engine: Engine, docker: Docker) -> None:
    before = docker.container(engine.run())
    stopped = docker.stop(before, 10)
    assert stopped is not None
    assert not stopped.running
    assert stopped.exit_code == 0
    assert stopped.started_at == before.started_at
    assert docker.stop(before, 10) is None, "it was down already"
    assert docker.container(before.id) == stopped
    docker.start(before)
    docker.start(before)
    after = docker.wait_running(before, 10)
    assert after.up
    assert after.started_at != before.started_at


def test_one_that_ignores_term_is_killed(engine: Engine, docker: Docker) -> None:
    found = docker.container(engine.run(IGNORE_TERM))
    begun = time.monotonic()
    stopped = docker.stop(found, 0.3)
    assert stopped is not None
    assert 0.9 < time.monotonic() - begun < 5
    assert stopped.exit_code == 137


def test_a_slow_stop_is_not_cut_off(engine: Engine, docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own time comes on top of what any call may take."""
    found = docker.container(engine.run(("sh", "-c", "trap 'sleep 3; exit 7' TERM; while :; do sleep 0.1; done")))
    monkeypatch.setattr(docker._api, "timeout", 1)
    stopped = docker.stop(found, 30)
    assert stopped is not None
    assert stopped.exit_code == 7


def test_restart_policies_do_not_undo_a_stop(engine: Engine, docker: Docker) -> None:
    found = docker.container(engine.run(restart_policy={"Name": "always"}))
    assert docker.stop(found, 5) is not None
    time.sleep(0.5)
    assert not docker.container(found.name).running


def test_gone_before_the_stop(engine: Engine, docker: Docker) -> None:
    found = docker.container(engine.run())
    engine.api.remove_container(found.id, force=True)
    calls: tuple[Callable[[], object], ...] = (
        lambda: docker.stop(found, 1),
        lambda: docker.start(found),
        lambda: docker.wait_running(found, 1),
    )
    for call in calls:
        with pytest.raises(NotFoundError):
            call()


def test_a_renamed_one_is_still_the_same(engine: Engine, docker: Docker) -> None:
    found = docker.container(engine.run())
    other = unique_name("renamed")
    engine.api.rename(found.id, other)
    stopped = docker.stop(found, 5)
    assert stopped is not None
    assert stopped.name == other
    docker.start(found)
    assert docker.wait_running(found, 5).name == other


def test_docker_says_why_a_start_fails(engine: Engine, docker: Docker) -> None:
    missing = docker.container(engine.create(("/no/such/program",)))
    with pytest.raises(ContainerError) as caught:
        docker.start(missing)
    assert caught.value.exit_code == 1
    assert "no such file or directory" in str(caught.value)
    assert missing.name in str(caught.value)


def test_a_mounted_entry_point_that_vanished(engine: Engine, docker: Docker, tmp_path: Path) -> None:
    script = tmp_path / "entry.sh"
    script.write_text("#!/bin/sh\n" + KEEP_RUNNING[2])
    script.chmod(0o755)
    found = docker.container(engine.run(("/entry.sh",), binds=[f"{script}:/entry.sh:ro"]))
    docker.stop(found, 5)
    script.unlink()
    with pytest.raises(ContainerError, match=r"entry\.sh"):
        docker.start(found)


def test_one_that_ends_at_once_does_not_stay_up(engine: Engine, docker: Docker) -> None:
    found = docker.container(engine.create(("sh", "-c", "sleep 0.2; exit 3")))
    docker.start(found)
    with pytest.raises(ContainerError, match=r"does not stay up.*exit code 3"):
        docker.wait_running(found, 20)


def test_one_that_restarts_again_and_again_is_not_running(engine: Engine, docker: Docker) -> None:
    found = docker.container(engine.run(("sh", "-c", "sleep 0.3; exit 4"), restart_policy={"Name": "always"}))
    with pytest.raises(ContainerError, match="not steadily running after 3 seconds"):
        docker.wait_running(found, 3)


def healthcheck(test: str) -> dict[str, object]:
    return {"test": ["CMD-SHELL", test], "interval": 200_000_000, "timeout": 30 * 10**9, "retries": 2}


def test_healthy_after_a_while(engine: Engine, docker: Docker) -> None:
    check = healthcheck("test -e /tmp/ready")
    argv = ("sh", "-c", f"(sleep 2; touch /tmp/ready) & {KEEP_RUNNING[2]}")
    found = docker.container(engine.run(argv, config={"healthcheck": check}))
    assert found.health == "starting"
    begun = time.monotonic()
    assert docker.wait_healthy(found, 60).health == "healthy"
    assert time.monotonic() - begun > 1


def test_never_healthy(engine: Engine, docker: Docker) -> None:
    found = docker.container(engine.run(config={"healthcheck": healthcheck("false")}))
    with pytest.raises(ContainerError, match=r"not healthy after 2 seconds.*`unhealthy`"):
        docker.wait_healthy(found, 2)


def test_ended_before_it_was_healthy(engine: Engine, docker: Docker) -> None:
    found = docker.container(engine.run(("sh", "-c", "exit 5"), config={"healthcheck": healthcheck("false")}))
    with pytest.raises(ContainerError, match="exit code 5"):
        docker.wait_healthy(found, 20)


def test_without_a_check_it_is_healthy_at_once(engine: Engine, docker: Docker) -> None:
    assert docker.wait_healthy(docker.container(engine.run()), 0).up


def test_a_signal_ends_a_wait_and_the_connection_still_works(engine: Engine, docker: Docker) -> None:
    """Also in the middle of an answer: cleanup starts containers over the same connection."""
    found = docker.container(engine.run(IGNORE_TERM))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    raise_on_signals()
    try:
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        with pytest.raises(Interrupted):
            docker.stop(found, 3)
        timer.join()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    docker.stop(found, 3)
    docker.start(found)
    assert docker.wait_running(found, 10).up

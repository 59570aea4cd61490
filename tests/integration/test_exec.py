"""Programs run inside a container: every byte, every exit code, and nothing truncated that looks whole."""

import hashlib
import io
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.errors import BackupError, ContainerError, UnreachableError
from hiveden_backup.host.docker import exec_stream
from hiveden_backup.host.docker.engine import Docker, connect
from hiveden_backup.host.process import ProcessError
from tests.support.dockerd import Engine

MIB = 1 << 20


@pytest.fixture(scope="module")
def docker(dockerd: Engine) -> Iterator[Docker]:
    with connect(dockerd.url) as docker:
        yield docker


@pytest.fixture(scope="module")
def box(dockerd: Engine, docker: Docker) -> Iterator[Container]:
    """One that no test ends."""
    box = docker.container(dockerd.run())
    yield box
    dockerd.api.remove_container(box.id, force=True)


@pytest.fixture
def own_box(engine: Engine, docker: Docker) -> Container:
    return docker.container(engine.run())


def output(docker: Docker, container: Container, argv: Sequence[str], **how: Any) -> bytes:
    """What a program says until its end."""
    with docker.exec_stream(container, argv, **how) as stream:
        return b"".join(stream)


def test_output_and_errors(docker: Docker, box: Container) -> None:
    with docker.exec_stream(box, ["sh", "-c", "echo out; echo err >&2; echo more"]) as stream:
        assert b"".join(stream) == b"out\nmore\n"
    assert stream.stderr == b"err\n"


def test_no_terminal_touches_the_bytes(docker: Docker, box: Container) -> None:
    every_byte = bytes(range(256)) + b"\n\r\n\x1b[0m"
    assert output(docker, box, ["cat"], stdin=io.BytesIO(every_byte)) == every_byte
    with pytest.raises(ProcessError):
        output(docker, box, ["test", "-t", "1"])


def test_a_failure_says_what_the_program_said(docker: Docker, box: Container) -> None:
    with pytest.raises(ProcessError) as caught:
        output(docker, box, ["sh", "-c", "echo half; echo 'no such database' >&2; exit 3"])
    assert (caught.value.program, caught.value.status) == ("sh", 3)
    assert caught.value.stderr == "no such database\n"
    assert "no such database" in str(caught.value)


def test_a_missing_program_says_so(docker: Docker, box: Container) -> None:
    with pytest.raises(ProcessError) as caught:
        output(docker, box, ["pg_dump", "--version"])
    assert caught.value.status in (126, 127)
    assert "pg_dump" in str(caught.value)
    assert "not found" in str(caught.value)


def test_user_and_environment(docker: Docker, engine: Engine) -> None:
    box = docker.container(engine.run(config={"environment": {"A": "container", "B": "container"}}))
    argv = ["sh", "-c", "echo $A $B; id -u"]
    assert output(docker, box, argv, user="1234", environment={"B": 'o\'d d="$1"'}) == b'container o\'d d="$1"\n1234\n'


def test_odd_arguments_arrive_as_they_are(docker: Docker, box: Container) -> None:
    odd = ["a b", "", "-n", "$HOME", "`x`", "'\"\\", "*", "ü\n"]
    said = output(docker, box, ["sh", "-c", 'for x in "$@"; do printf "%s|" "$x"; done', "sh", *odd])
    assert said.decode() == "".join(f"{one}|" for one in odd)


@pytest.mark.parametrize("stopped", ["stop", "pause", "remove"])
def test_only_a_running_container_runs_programs(
    docker: Docker, engine: Engine, own_box: Container, stopped: str
) -> None:
    {"stop": engine.api.kill, "pause": engine.api.pause, "remove": engine.api.remove_container}[stopped](
        own_box.id, **({"force": True} if stopped == "remove" else {})
    )
    with pytest.raises(BackupError, match="Running true in the container"):
        output(docker, own_box, ["true"])


def test_200_mb_of_anything_arrive_whole(docker: Docker, engine: Engine, tmp_path: Path) -> None:
    block = os.urandom(25 * MIB)
    expected = hashlib.sha256()
    with open(tmp_path / "data", "wb") as file:
        for _ in range(8):
            file.write(block)
            expected.update(block)
    box = docker.container(engine.run(binds=[f"{tmp_path}:/data:ro"]))
    got, size = hashlib.sha256(), 0
    begun = time.monotonic()
    with docker.exec_stream(box, ["cat", "/data/data"]) as stream:
        for piece in stream:
            got.update(piece)
            size += len(piece)
    rate = size / MIB / (time.monotonic() - begun)
    assert size == 200 * MIB
    assert got.digest() == expected.digest()
    assert rate > 20, "far below what it should be, even on a busy machine"


def test_output_and_errors_together(docker: Docker, box: Container) -> None:
    """Of the errors only the end is kept, however many there are."""
    script = (
        "for i in $(seq 30); do head -c 100000 /dev/zero; head -c 200000 /dev/zero | tr '\\0' e >&2; done; echo x >&2"
    )
    with docker.exec_stream(box, ["sh", "-c", script]) as stream:
        size = sum(len(piece) for piece in stream)
    assert size == 3_000_000
    assert stream.stderr.endswith(b"eee" * 1000 + b"x\n")
    assert len(stream.stderr) == 4 * MIB


def test_a_large_input_goes_through(docker: Docker, box: Container) -> None:
    """Both ways at once: neither side may wait for the other for ever."""
    data = os.urandom(30 * MIB)
    with docker.exec_stream(box, ["cat"], stdin=io.BytesIO(data)) as stream:
        assert b"".join(stream) == data


def test_an_input_from_a_pipe(docker: Docker, box: Container) -> None:
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb") as file:
            file.write(b"x" * MIB)

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reader, "rb") as pipe, docker.exec_stream(box, ["wc", "-c"], stdin=pipe) as stream:
        assert b"".join(stream) == b"%d\n" % MIB
    thread.join()


def test_empty_input(docker: Docker, box: Container) -> None:
    assert output(docker, box, ["wc", "-c"], stdin=io.BytesIO()) == b"0\n"


def test_an_input_that_nobody_reads(docker: Docker, box: Container) -> None:
    assert output(docker, box, ["echo", "done"], stdin=io.BytesIO(bytes(5 * MIB))) == b"done\n"
    with pytest.raises(ProcessError) as caught:
        output(docker, box, ["sh", "-c", "exit 9"], stdin=io.BytesIO(bytes(5 * MIB)))
    assert caught.value.status == 9


def test_output_nobody_wants_is_thrown_away(docker: Docker, box: Container) -> None:
    with docker.exec_stream(box, ["sh", "-c", "head -c 3000000 /dev/zero"]) as stream:
        assert next(iter(stream))
    with pytest.raises(ProcessError), docker.exec_stream(box, ["sh", "-c", "head -c 3000000 /dev/zero; exit 1"]):
        pass


def test_an_error_of_ours_lets_go(docker: Docker, box: Container) -> None:
    begun = time.monotonic()
    with pytest.raises(ZeroDivisionError), docker.exec_stream(box, ["sleep", "60"]):
        raise ZeroDivisionError
    assert time.monotonic() - begun < 5


def read_and(stream: Iterable[bytes], then: Callable[[], object]) -> None:
    """Read to the end; `then` happens on the way."""
    thread = threading.Thread(target=then)
    try:
        for number, _ in enumerate(stream):
            if number == 10:
                thread.start()
    finally:
        thread.join()


@pytest.mark.parametrize("end", ["kill", "remove", "stop"])
def test_a_container_ended_in_mid_stream(docker: Docker, engine: Engine, own_box: Container, end: str) -> None:
    end_it = {
        "kill": lambda: engine.api.kill(own_box.id),
        "remove": lambda: engine.api.remove_container(own_box.id, force=True),
        "stop": lambda: engine.api.stop(own_box.id, timeout=1),
    }[end]
    with pytest.raises(BackupError), docker.exec_stream(own_box, ["cat", "/dev/zero"]) as stream:
        read_and(stream, end_it)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_program_killed_in_mid_stream(docker: Docker, box: Container, number: signal.Signals) -> None:
    argv = ["sh", "-c", f"head -c 1000000 /dev/zero; kill -{number} $$"]
    with pytest.raises(ProcessError) as caught, docker.exec_stream(box, argv) as stream:
        assert sum(len(piece) for piece in stream) == 1_000_000
    assert caught.value.status == 128 + number


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_engine_ended_in_mid_stream(private_dockerd: Engine, how: str) -> None:
    private_dockerd.run(name="box")
    with connect(private_dockerd.url) as docker:
        box = docker.container("box")
        with pytest.raises(BackupError), docker.exec_stream(box, ["cat", "/dev/zero"]) as stream:
            read_and(stream, getattr(private_dockerd, how))


def test_the_engine_hung_in_mid_stream(private_dockerd: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent program is waited for; a silent Engine is not."""
    monkeypatch.setattr(exec_stream, "_SILENCE_SECONDS", 0.5)
    private_dockerd.run(name="box")
    with connect(private_dockerd.url) as docker:
        monkeypatch.setattr(docker._api, "timeout", 1)
        box = docker.container("box")
        assert output(docker, box, ["sh", "-c", "sleep 2; echo late"]) == b"late\n"
        try:
            with pytest.raises(UnreachableError), docker.exec_stream(box, ["sleep", "60"]):
                os.kill(private_dockerd.pid, signal.SIGSTOP)
        finally:
            os.kill(private_dockerd.pid, signal.SIGCONT)


def test_a_child_that_keeps_the_output_open(docker: Docker, box: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's end counts, not that of a stranger that inherited its output."""
    monkeypatch.setattr(exec_stream, "_SILENCE_SECONDS", 0.5)
    begun = time.monotonic()
    assert output(docker, box, ["sh", "-c", "echo out; sleep 30 & exit 0"]) == b"out\n"
    assert time.monotonic() - begun < 10


def test_a_dump_from_a_container(docker: Docker, engine: Engine) -> None:
    box = docker.container(engine.postgres(user="immich", database="photos"))
    argv = ["psql", "-U", "immich", "-Atc", "SELECT current_database()", "photos"]
    argv[0] = "/usr/lib/postgresql/" + box.environment["PATH"].split("/")[4] + "/bin/psql"
    assert output(docker, box, argv) == b"photos\n"
    dump = output(docker, box, ["pg_dump", "-U", "immich", "-Fc", "-Z0", "photos"], user="postgres")
    assert dump.startswith(b"PGDMP")
    with pytest.raises(ProcessError, match="nowhere"):
        output(docker, box, ["pg_dump", "-U", "immich", "nowhere"])


def test_a_program_that_does_not_end_in_time(docker: Docker, own_box: Container) -> None:
    """Silent, or with more and more to say."""
    for argv in (["sleep", "60"], ["yes"]):
        began = time.monotonic()
        with pytest.raises(ContainerError, match="did not come to its end in time"):
            output(docker, own_box, argv, seconds=1.0)
        assert time.monotonic() - began < 10


def test_an_answer_of_the_engine_that_does_not_end(tmp_path: Path) -> None:
    """Whoever listens there: we hear 64 MiB of it."""
    served = threading.Thread(
        target=_endless, args=(address := str(tmp_path / "docker.sock"), ready := threading.Event())
    )
    served.start()
    ready.wait()
    with pytest.raises(UnreachableError, match="more than 64 MiB"), connect(f"unix://{address}"):
        pass
    served.join()


def _endless(address: str, ready: threading.Event) -> None:
    """Answer each request with JSON that goes on and on."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        server.settimeout(20)
        ready.set()
        for _ in range(2):  # the SDK's own connection comes after one that only looks whether somebody is there
            client, _address = server.accept()
            with client, suppress(OSError):
                client.recv(1 << 16)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
                while True:
                    client.sendall(b'"",' * 100_000)

"""A server in a container: found through the container's own socket, dumped from outside or by its own pg_dump."""

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.errors import BackupError, DeniedError, Interrupted, UnreachableError
from hiveden_backup.core.model import Table
from hiveden_backup.core.postgres.values import Endpoint, PgTools, ServerContainer
from hiveden_backup.host.docker import engine as containers
from hiveden_backup.host.postgres.connect import connect
from hiveden_backup.host.postgres.count import row_counts
from hiveden_backup.host.postgres.decode import decode
from hiveden_backup.host.postgres.dump import Dump, dumping, dumping_globals
from hiveden_backup.host.postgres.endpoint import container_endpoint, opened_beneath
from hiveden_backup.host.postgres.inspect import inspect
from hiveden_backup.host.postgres.restore import restore_new
from hiveden_backup.host.postgres.snapshot import hold
from hiveden_backup.host.postgres.tools import dump_tool, find_tools, inside_tools, restore_tool
from tests.support import images
from tests.support.dockerd import Engine
from tests.support.postgres import running_server

APPLICATION = "hiveden-backup test"
HOST_SOCKETS = Path("/run/postgresql")
USER, PASSWORD = "owner", "pass 'word\\"
PORT = 54329  # of the server in the container, and of another one on the host
ROWS = 200_000


@pytest.fixture(scope="module")
def docker(dockerd: Engine) -> Iterator[containers.Docker]:
    with containers.connect(dockerd.url) as docker:
        yield docker


def described(docker: containers.Docker, name: str) -> ServerContainer:
    """A container as the jobs hand it over."""
    found = docker.container(name)
    door = functools.partial(docker.exec_stream, found)
    return ServerContainer(found.name, found.pid, found.environment, found.addresses, door)


@pytest.fixture(scope="module")
def server(dockerd: Engine, docker: containers.Docker) -> Iterator[ServerContainer]:
    """A container with a server on an odd port, and in it a database of some size."""
    environment = {
        "POSTGRES_USER": USER,
        "POSTGRES_PASSWORD": PASSWORD,
        "POSTGRES_DB": USER,
        "PGPORT": str(PORT),
        "PATH": f"{images.postgres_programs('')}:/usr/sbin:/usr/bin",
    }
    name = dockerd.run(
        ["/start.sh", f"--port={PORT}", "--fsync=off"],
        image=images.POSTGRES,
        binds=["/usr:/usr:ro"],
        config={"environment": environment, "stop_signal": "SIGINT"},
        network_mode="bridge",
    )
    server = described(docker, name)
    text = "md5(n::text) || md5((-n)::text) || md5((n * 7)::text)"
    statement = f"CREATE TABLE public.rows AS SELECT n, {text} AS text FROM generate_series(1, {ROWS}) AS n"
    with contextlib.closing(connect(patiently_found(server), USER)) as connection:
        connection.execute(statement.encode())
    yield server
    dockerd.api.remove_container(name, force=True, v=True)


def patiently_found(server: ServerContainer) -> Endpoint:
    """The server in a container that has just been started, once it answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            endpoint = container_endpoint(PostgresSource(container=server.name), replace(server, addresses=()))
            connect(endpoint).close()
        except UnreachableError:
            assert time.monotonic() < deadline, "it does not come up"
            time.sleep(0.1)
        else:
            return endpoint


@pytest.fixture
def endpoint(server: ServerContainer) -> Endpoint:
    return container_endpoint(PostgresSource(container=server.name), server)


@pytest.fixture
def inside(endpoint: Endpoint) -> PgTools:
    """The container's own tools, as when the host has none that fit."""
    return dump_tool(endpoint, inspect(endpoint).major, [])


def programs_inside(server: ServerContainer, comm: str) -> list[str]:
    """The processes of that name in the container."""
    ours = os.readlink(f"/proc/{server.pid}/ns/pid")
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is not ours to look at
            if (folder / "comm").read_text().strip() == comm and os.readlink(folder / "ns/pid") == ours:
                found.append(folder.name)
    return found


def without(environment: Mapping[str, str], *names: str, **more: str) -> Mapping[str, str]:
    return {**{key: value for key, value in environment.items() if key not in names}, **more}


# ---- reaching it -----------------------------------------------------------------------------------------------------


def test_socket_of_the_container_and_not_that_of_the_host(server: ServerContainer) -> None:
    """/var/run is an absolute link in the container: seen from outside, it leads to the host's own server."""
    made = not HOST_SOCKETS.exists()
    if made:  # otherwise Debian's own, which is as it must be
        HOST_SOCKETS.mkdir()
        shutil.chown(HOST_SOCKETS, "postgres", "postgres")
    try:
        with running_server(sockets=[HOST_SOCKETS], port=PORT) as other, other.database("on the host"):
            trap = f"/proc/{server.pid}/root/var/run/postgresql/.s.PGSQL.{PORT}"
            assert os.path.samefile(trap, HOST_SOCKETS / f".s.PGSQL.{PORT}")
            endpoint = container_endpoint(PostgresSource(container=server.name), server)
            names = {info.name for info in inspect(endpoint).databases}
            assert USER in names
            assert "on the host" not in names
    finally:
        if made:
            HOST_SOCKETS.rmdir()


def test_socket_user_and_port_are_found(server: ServerContainer, endpoint: Endpoint) -> None:
    expected = {"host": f"/proc/{server.pid}/root/run/postgresql", "port": str(PORT), "user": USER}
    assert endpoint.parameters == expected
    assert endpoint.inside == {**expected, "host": "/var/run/postgresql"}
    assert endpoint.password("any") == PASSWORD
    without_port = replace(server, environment=without(server.environment, "PGPORT", "POSTGRES_USER"))
    found = container_endpoint(PostgresSource(container=server.name), without_port)
    assert found.parameters == {**expected, "user": "postgres"}
    named = container_endpoint(PostgresSource(container=server.name, user="reader"), server)
    assert named.parameters["user"] == "reader"


def test_listener_outside_the_container_is_refused(engine: Engine, docker: containers.Docker) -> None:
    """The host's server, its socket directory mounted into a container, is not that container's server."""
    with running_server() as other:
        name = engine.run(binds=[f"{other.sockets}:/run/postgresql"])
        with pytest.raises(UnreachableError, match=f"container {name} cannot be reached"):
            container_endpoint(PostgresSource(container=name), described(docker, name))


def test_connection_that_leads_elsewhere_is_refused(server: ServerContainer, endpoint: Endpoint) -> None:
    with running_server() as other:
        astray = replace(other.endpoint(), name=server.name, socket_pid=server.pid)
        with pytest.raises(UnreachableError, match="led to another server"):
            connect(astray)
    with contextlib.closing(connect(endpoint)):
        pass


def test_over_the_network_when_there_is_no_socket(server: ServerContainer, endpoint: Endpoint) -> None:
    elsewhere = replace(server, pid=os.getpid())  # a root without such a socket
    by_address = container_endpoint(PostgresSource(container=server.name), elsewhere)
    assert by_address.parameters == {"host": server.addresses[0], "port": str(PORT), "user": USER}
    assert inspect(by_address).version == inspect(endpoint).version
    with hold(by_address, USER, lock_timeout=5) as snapshot:
        tool = dump_tool(by_address, inspect(by_address).major, [])
        assert tool.inside
        with dumping(snapshot, tool, level=1, lock_timeout=5, application=APPLICATION) as going:
            assert len(going.stream.read()) > 1_000_000
    wrong = replace(elsewhere, environment=without(server.environment, POSTGRES_PASSWORD="wrong"))
    with pytest.raises(DeniedError):
        connect(container_endpoint(PostgresSource(container=server.name), wrong))


def test_passfile_names_the_container(server: ServerContainer, tmp_path: Path) -> None:
    path = tmp_path / "passfile"
    path.write_text(f"other:*:*:*:no\n{server.name}:{PORT}:{USER}:{USER}:one\nlocalhost:*:*:{USER}:two\\:\n")
    path.chmod(0o600)
    endpoint = container_endpoint(PostgresSource(container=server.name, passfile=str(path)), server)
    assert (endpoint.password(USER), endpoint.password("other")) == ("one", "two:")
    path.write_text("other:*:*:*:no\n")
    with pytest.raises(DeniedError, match=f"no line for the container {server.name}"):
        container_endpoint(PostgresSource(container=server.name, passfile=str(path)), server)


def test_user_and_password_from_files_inside(server: ServerContainer) -> None:
    files = {"POSTGRES_USER_FILE": "/run/../secret/user", "POSTGRES_PASSWORD_FILE": "/link"}
    environment = without(server.environment, "POSTGRES_USER", "POSTGRES_PASSWORD", **files)
    root = Path(f"/proc/{server.pid}/root")
    (root / "secret").mkdir()
    (root / "secret/user").write_text("from a file\n")
    (root / "link").symlink_to("/secret/user")
    endpoint = container_endpoint(PostgresSource(container=server.name), replace(server, environment=environment))
    assert endpoint.parameters["user"] == endpoint.password("any") == "from a file"
    (root / "link").unlink()
    (root / "link").symlink_to("/etc/shadow")  # there on the host, not in the container
    with pytest.raises(DeniedError, match="POSTGRES_PASSWORD_FILE"):
        container_endpoint(PostgresSource(container=server.name), replace(server, environment=environment))


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    links = {
        "up": "../../../etc",
        "loop": "loop",
        "in": "/inner/there",
        "inner/to": "../inner/there",
        "inner/no": "../x",
    }
    (tmp_path / "inner/there").mkdir(parents=True)
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    with opened_beneath(str(tmp_path), "/in/../to/./../there") as (descriptor, path):
        assert path == f"{tmp_path}/inner/there"
        assert os.path.samestat(os.fstat(descriptor), os.stat(path))
    for missing in ("/up", "/loop", "/inner/no", "/none/.."):
        with pytest.raises(OSError, match=r"."), opened_beneath(str(tmp_path), missing):
            pytest.fail(f"{missing} is not there")


def test_without_the_capability_the_error_names_it(server: ServerContainer) -> None:
    """As under a hardened unit: root, but /proc/PID/root is closed."""
    program = (
        "import sys\n"
        "from hiveden_backup.core.config.values import PostgresSource\n"
        "from hiveden_backup.core.postgres.values import ServerContainer\n"
        "from hiveden_backup.host.postgres.endpoint import container_endpoint\n"
        "def door(*_, **__): raise AssertionError\n"
        "def find(addresses):\n"
        "    container = ServerContainer('c', int(sys.argv[1]), {}, addresses, door)\n"
        "    return container_endpoint(PostgresSource(container='c'), container)\n"
        "print(find(('10.9.8.7',)).parameters['host'])\n"
        "find(())\n"
    )
    argv = ["setpriv", "--bounding-set=-sys_ptrace", sys.executable, "-c", program, str(server.pid)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.stdout == "10.9.8.7\n"
    assert "UnreachableError" in done.stderr
    assert "CAP_SYS_PTRACE" in done.stderr


def test_stopped_container(docker: containers.Docker, engine: Engine) -> None:
    name = engine.create()
    with pytest.raises(UnreachableError, match=f"docker start {name}"):
        container_endpoint(PostgresSource(container=name), described(docker, name))


# ---- its own pg_dump -------------------------------------------------------------------------------------------------


def test_tool_inside_is_chosen_when_the_host_has_no_equal_one(endpoint: Endpoint, inside: PgTools) -> None:
    major = inspect(endpoint).major
    assert inside.inside
    assert inside.major == major
    assert dump_tool(endpoint, major).major == major
    assert not dump_tool(endpoint, major).inside
    assert dump_tool(endpoint, major, [PgTools((major + 1,), "/newer")]).inside


def test_container_without_tools(engine: Engine, docker: containers.Docker, endpoint: Endpoint) -> None:
    bare = replace(endpoint, door=described(docker, engine.run()).door)
    assert inside_tools(bare) is None
    with pytest.raises(UnreachableError, match="postgresql-client-"):
        dump_tool(bare, inspect(endpoint).major, [PgTools((99,), "/newer")])


def test_dump_and_restore_through_the_container(endpoint: Endpoint, inside: PgTools, tmp_path: Path) -> None:
    path = tmp_path / "dump"
    with hold(endpoint, USER, lock_timeout=5) as snapshot:
        with contextlib.closing(connect(endpoint, USER)) as connection:
            connection.execute("CREATE TABLE public.later (x int)")
        with (
            dumping(snapshot, inside, level=1, lock_timeout=5, application=APPLICATION) as going,
            path.open("wb") as file,
        ):
            shutil.copyfileobj(going.stream, file)
        facts = replace(snapshot.facts(), tables=snapshot.counts().tables)
    assert facts.tables == (Table("public.rows", ROWS),)
    plain = subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout
    assert going.uncompressed_bytes == len(plain)
    decode(path, find_tools()[-1])
    tool = restore_tool(endpoint, inside.major, inside.major, [])
    assert tool.inside
    name = "odd 'name' = \\"
    restore_new(endpoint, path, facts, name, tool)
    with contextlib.closing(connect(endpoint, name)) as connection:
        assert row_counts(connection) == facts.tables
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(BackupError, match="damaged"):
        restore_new(endpoint, path, facts, "second", tool)
    with contextlib.closing(connect(endpoint, USER)) as connection:
        connection.execute("DROP TABLE public.later")
    assert {info.name for info in inspect(endpoint).databases} == {USER, name, "postgres", "template0", "template1"}


def test_globals_through_the_container(endpoint: Endpoint, inside: PgTools) -> None:
    facts = inspect(endpoint)
    with dumping_globals(endpoint, facts, inside, level=3, application=APPLICATION) as going:
        compressed = going.stream.read()
    script = subprocess.run(["zstd", "-dc"], input=compressed, capture_output=True, check=True).stdout.decode()
    assert f"CREATE ROLE {USER};" in script
    assert going.warnings == ()


@pytest.mark.parametrize("error", [Interrupted(15), OSError(28, "no space")])
def test_interruption_ends_the_dump_inside(
    server: ServerContainer, endpoint: Endpoint, inside: PgTools, error: BaseException
) -> None:
    """Docker goes on with a program whose client is gone; it would keep its locks."""

    def fail(going: Dump) -> None:
        going.stream.read(1000)
        assert programs_inside(server, "pg_dump")
        raise error

    begun = time.monotonic()
    with hold(endpoint, USER, lock_timeout=5) as snapshot:
        going = dumping(snapshot, inside, level=1, lock_timeout=5, application=APPLICATION)
        with pytest.raises(type(error)), going:
            fail(going)
    deadline = time.monotonic() + 5
    while programs_inside(server, "pg_dump"):
        assert time.monotonic() < deadline, "pg_dump goes on"
        time.sleep(0.05)
    assert time.monotonic() - begun < 10


def test_compressor_that_dies_ends_the_dump_inside(
    server: ServerContainer, endpoint: Endpoint, inside: PgTools
) -> None:
    with hold(endpoint, USER, lock_timeout=5) as snapshot:
        going = dumping(snapshot, inside, level=1, lock_timeout=5, application=APPLICATION)
        with pytest.raises(BackupError, match="zstd was ended by signal 9"), going:
            kill_compressor(going)
    assert not programs_inside(server, "pg_dump")


def kill_compressor(going: Dump) -> None:
    going.stream.read(1000)
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for pid in children:
        if Path(f"/proc/{pid}/comm").read_text() == "zstd\n":
            os.kill(int(pid), 9)
    going.stream.read()


def test_lock_timeout_inside(endpoint: Endpoint, inside: PgTools) -> None:
    """Where pg_dump runs makes no difference to what its failure is called."""
    with contextlib.closing(connect(endpoint, USER)) as other:
        migration = threading.Thread(target=other.execute, args=("BEGIN; LOCK TABLE public.rows; ROLLBACK",))
        with hold(endpoint, USER, lock_timeout=5) as snapshot:
            migration.start()
            deadline = time.monotonic() + 10
            while not snapshot.blocked():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            going = dumping(snapshot, inside, level=1, lock_timeout=0.2, application=APPLICATION)
            with pytest.raises(BackupError, match=r"public\.rows stayed locked"), going:
                going.stream.read()
        migration.join()


def test_container_that_is_killed_in_the_midst(
    engine: Engine, docker: containers.Docker, server: ServerContainer, inside: PgTools
) -> None:
    name = engine.postgres(settings={"fsync": "off"})
    endpoint = container_endpoint(PostgresSource(container=name), described(docker, name))
    with contextlib.closing(connect(endpoint)) as connection:
        connection.execute(
            f"CREATE TABLE public.t AS SELECT md5(n::text) FROM generate_series(1, {ROWS}) AS n".encode()
        )

    def read(going: Dump) -> None:
        going.stream.read(1000)
        engine.api.kill(name)
        going.stream.read()

    def dump() -> None:
        with hold(endpoint, "postgres", lock_timeout=5) as snapshot:
            with dumping(snapshot, inside, level=1, lock_timeout=5, application=APPLICATION) as going:
                read(going)
            snapshot.facts()  # as a run does: Docker may call a program well that went with its container

    with pytest.raises(BackupError):
        dump()
    assert server.name != name

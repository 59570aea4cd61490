"""What a container says is in a file of its own is read there, and is never more than a setting."""

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.errors import DeniedError
from hiveden_backup.core.postgres.values import ServerContainer
from hiveden_backup.host.postgres.endpoint import container_endpoint


def _no_door(*_: object, **__: object) -> NoReturn:
    raise AssertionError("Nothing is to be started in it")


def passwords(path: Path) -> tuple[tuple[str, str], ...]:
    """Those of a server in a container whose root is this process's own."""
    environment = {"POSTGRES_PASSWORD_FILE": str(path), "PGPORT": "1"}
    container = ServerContainer("db", os.getpid(), environment, ("192.0.2.1",), _no_door)
    return container_endpoint(PostgresSource(container="db"), container).passwords


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 3 << 30)


def in_a_circle(path: Path) -> None:
    path.symlink_to(path.name)


UNFIT: dict[str, Callable[[Path], object]] = {
    "3 GiB of nothing": sparse,
    "a FIFO": os.mkfifo,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "a link in a circle": in_a_circle,
    "a directory": Path.mkdir,
    "no text": lambda path: path.write_bytes(b"\xff"),
    "a NUL": lambda path: path.write_bytes(b"a\0b"),
    "too long": lambda path: path.write_bytes(b"x" * ((64 << 10) + 1)),
}


@pytest.mark.parametrize("what", UNFIT)
def test_what_is_no_setting_is_refused(tmp_path: Path, what: str) -> None:
    UNFIT[what](tmp_path / "password")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DeniedError, match="POSTGRES_PASSWORD_FILE of the container db"):
        passwords(tmp_path / "password")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_a_setting_is_read_through_its_links(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "password").symlink_to("secret")
    assert passwords(tmp_path / "password") == (("*", "s3cret"),)

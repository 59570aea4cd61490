"""The locks, among real processes."""

import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hiveden_backup.core.errors import BusyError, Interrupted
from hiveden_backup.host.signals import raise_on_signals
from hiveden_backup.host.state.locks import container_locks, job_lock
from tests.support.disks import fill, small_disk

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from hiveden_backup.host.state.locks import container_locks, job_lock
state, kind, *names = sys.argv[1:]
if kind == "containers":
    lock = container_locks(Path(state), names, 0)
else:
    lock = job_lock(Path(state), names[0], shared=kind == "shared")
with lock:
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(state: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds locks for the block."""
    argv = [sys.executable, "-c", HOLDER, str(state), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_who_only_looks_makes_nobody_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`status` has the lock for an instant, perhaps just when a run begins."""
    with held_elsewhere(tmp_path, "shared", "immich") as looker:

        def meanwhile(_seconds: float) -> None:
            looker.kill()
            looker.wait()

        monkeypatch.setattr("hiveden_backup.host.state.locks.time.sleep", meanwhile)
        with job_lock(tmp_path, "immich"):
            pass


def test_a_busy_job_is_refused_at_once_and_its_holder_named(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path, "alone", "immich") as holder:
        begun = time.monotonic()
        with pytest.raises(BusyError) as caught, job_lock(tmp_path, "immich"):
            pass
        assert time.monotonic() - begun < 1
        assert caught.value.exit_code == 75
        assert "immich" in str(caught.value)
        assert f"Process {holder.pid}" in str(caught.value)
        with job_lock(tmp_path, "other"):
            pass


def test_a_dead_holder_leaves_nothing_but_a_file(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path, "alone", "immich"):
        pass
    with job_lock(tmp_path, "immich"):
        assert (tmp_path / "locks/immich.lock").read_text() == f"{os.getpid()}\n"
    assert (tmp_path / "locks/immich.lock").exists()


def test_those_that_share_exclude_only_those_that_do_not(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path, "shared", "immich"):
        with job_lock(tmp_path, "immich", shared=True):
            pass
        with pytest.raises(BusyError), job_lock(tmp_path, "immich"):
            pass
    with held_elsewhere(tmp_path, "alone", "immich"), pytest.raises(BusyError):  # noqa: SIM117 - the lock is what raises
        with job_lock(tmp_path, "immich", shared=True):
            pass


def test_files_are_private(tmp_path: Path) -> None:
    with job_lock(tmp_path / "state", "immich"), container_locks(tmp_path / "state", ["web"], 0):
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode) for path in [tmp_path / "state", *(tmp_path).glob("*/**/*")]
        }
    assert modes == {"state": 0o700, "locks": 0o700, "immich.lock": 0o600, "container-web.lock": 0o600}


def test_a_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as before:
        with job_lock(tmp_path, "immich"):
            child = subprocess.Popen(["sleep", "60"], close_fds=False)
        try:
            with job_lock(tmp_path, "immich"):
                pass
        finally:
            for process in (before, child):
                process.kill()
                process.wait()


def test_a_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), job_lock(tmp_path, "immich"), container_locks(tmp_path, ["web"], 0):
            raise ZeroDivisionError


def test_a_busy_container_is_waited_for(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path, "containers", "db", "web") as holder:
        timer = threading.Timer(0.5, holder.kill)
        timer.start()
        begun = time.monotonic()
        with container_locks(tmp_path, ["web", "cache"], 30):
            assert 0.3 < time.monotonic() - begun < 10
        timer.join()


def test_the_wait_is_one_for_all_containers(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path, "containers", "web") as holder:
        begun = time.monotonic()
        with pytest.raises(BusyError) as caught, container_locks(tmp_path, ["web", "app"], 0.5):
            pass
        assert 0.5 <= time.monotonic() - begun < 5
        assert "web" in str(caught.value)
        assert f"Process {holder.pid}" in str(caught.value)
        with container_locks(tmp_path, ["app"], 0):  # those taken before are given back
            pass


def test_all_take_them_in_one_order(tmp_path: Path) -> None:
    """With `b` held, who wants both waits without holding `a`... unless it comes first: then it holds it."""
    with held_elsewhere(tmp_path, "containers", "b"):
        with pytest.raises(BusyError, match="container b "), container_locks(tmp_path, ["b", "a", "b"], 0):
            pass
        with held_elsewhere(tmp_path, "containers", "a"):  # noqa: SIM117 - the lock is what raises
            with pytest.raises(BusyError, match="container a "), container_locks(tmp_path, ["b", "a"], 0):
                pass


def test_a_signal_ends_the_wait(tmp_path: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    raise_on_signals()
    try:
        with held_elsewhere(tmp_path, "containers", "web"):
            timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
            timer.start()
            with pytest.raises(Interrupted) as caught, container_locks(tmp_path, ["app", "web"], 60):
                pass
            timer.join()
            assert caught.value.exit_code == 128 + signal.SIGTERM
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    with container_locks(tmp_path, ["app", "web"], 0):
        pass


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/immich.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Exception, match="Opening the lock"), job_lock(tmp_path, "immich"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_works_on_a_full_disk(tmp_path: Path) -> None:
    """Who holds it is not written then; a container can still be started again."""
    with small_disk(tmp_path, "16k"):
        (tmp_path / "locks").mkdir()
        (tmp_path / "locks/immich.lock").touch()
        fill(tmp_path)
        with job_lock(tmp_path, "immich"):
            assert (tmp_path / "locks/immich.lock").read_text() == ""
            with open(tmp_path / "locks/immich.lock") as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_job_may_be_called_as_the_lock_of_its_container_is(tmp_path: Path) -> None:
    """Else its run would wait for itself, for `lock_wait`."""
    with job_lock(tmp_path, "container-web"), container_locks(tmp_path, ["web"], 0):
        assert len(list((tmp_path / "locks").iterdir())) == 2

"""Nobody has root read for him: what the owner of a job's files puts behind links is in no archive."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from hiveden_backup.host.disk.bounds import bounds
from hiveden_backup.host.process import Command, Pipeline
from tests.support import sandbox
from tests.support.job import Site, site

MIB = 1 << 20
SECRET = "HOST SECRET root:$y$hash"
NOBODY = 12345
PLACES = 12

EVIL = f"""
import ctypes, os, struct, sys
secret = sys.argv[1]
libc = ctypes.CDLL(None)
watcher = libc.inotify_init()
first = libc.inotify_add_watch(watcher, b"a-first", 0x20)
last = libc.inotify_add_watch(watcher, b"z-last", 0x20)
print("ready", flush=True)
out = False
while True:
    watch = struct.unpack("iIII", os.read(watcher, 4096)[:16])[0]
    if watch == first and not out:
        for number in range({PLACES}):
            os.rename(f"d{{number:02}}", f".d{{number:02}}")
            os.symlink(secret, f"d{{number:02}}")
        out = True
    elif watch == last and out:
        for number in range({PLACES}):
            os.unlink(f"d{{number:02}}")
            os.rename(f".d{{number:02}}", f"d{{number:02}}")
        out = False
    os.utime("a-first")  # so that the next pass reads it again, which gives the sign again
    os.utime("z-last")
"""
"""Directories become links when the first file is opened, and are back when the last one is."""


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    """A job over a tree of somebody's, and a secret of root's, whose names are also in that tree."""
    with site(tmp_path) as made:
        for number in range(PLACES):
            directory = made.data / f"d{number:02}"
            (directory / "inner").mkdir(parents=True)
            (directory / "shadow").write_text("mine")
            (directory / "inner/shadow").write_text("mine")
        (made.data / "a-first").write_bytes(os.urandom(24 * MIB))
        (made.data / "z-last").write_text("last")
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", made.data], check=True)
        secret = made.path / "secret"
        (secret / "inner").mkdir(parents=True, mode=0o700)
        for path in (secret / "shadow", secret / "inner/shadow"):
            path.write_text(SECRET)
            path.chmod(0o600)
        made.configure({"app": {"paths": [str(made.data)], "unusual": False}})
        made.init()
        yield made


@contextmanager
def attacked(bed: Site) -> Iterator[None]:
    """The owner of the tree at work. He needs no right to anything above it."""
    become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    evil = subprocess.Popen(
        [*become, sys.executable, "-c", EVIL, str(bed.path / "secret")],
        cwd=bed.data,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert evil.stdout is not None
        assert evil.stdout.readline() == b"ready\n"
        yield
        assert evil.poll() is None
    finally:
        evil.kill()
        evil.communicate()


def archived(bed: Site) -> bytes:
    """What is in all archives."""
    archives = sorted(bed.job().glob("archives/*.tar.zst"))
    assert archives
    return b"".join(subprocess.run(["zstd", "-dc", each], capture_output=True, check=True).stdout for each in archives)


def test_a_link_in_a_directorys_place_shows_tar_nothing(bed: Site) -> None:
    """Each run has three passes, and each pass tries it on every directory, and on the one below."""
    with attacked(bed):
        for _ in range(2):
            bed.run("run", "app").succeeded()
    assert SECRET.encode() not in archived(bed)
    struck = [line for line in bed.manifest()["warnings"] if "is not in this backup" in line]
    assert struck  # it was tried
    bed.run("run", "app").succeeded()
    tree = bed.restored("after") / str(bed.data).lstrip("/")
    assert {(tree / f"d{number:02}/shadow").read_text() for number in range(PLACES)} == {"mine"}


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM], ids=["no such calls", "forbidden"])
def test_without_landlock_it_is_one_warning_and_no_backup_has_the_secret(bed: Site, error: int) -> None:
    """An archive may; but no index names that member, so nothing restores it."""
    with attacked(bed):
        bed.finish(bed.start("run", "app", within=sandbox.within(error))).succeeded()
    warnings = [line for line in bed.manifest()["warnings"] if "Landlock" in line]
    assert len(warnings) == 1
    assert os.strerror(error) in warnings[0]
    restored = bed.restored("it") / str(bed.data).lstrip("/")
    assert {path.read_text() for path in restored.rglob("shadow")} <= {"mine"}


def test_who_may_make_rules_but_not_follow_them_is_not_confined(bed: Site) -> None:
    bed.finish(bed.start("run", "app", within=sandbox.within(errno.EPERM, "446"))).succeeded()
    (warning,) = bed.manifest()["warnings"]
    assert "Landlock: Operation not permitted" in warning


def test_roots_and_what_is_mounted_at_and_below_them_is_read_whatever_it_is(tmp_path: Path) -> None:
    with site(tmp_path) as bed, ExitStack() as stack:
        source, root = bed.path / "source", bed.data / "root"
        for folder in ("bound", "other", "lower", "upper", "work", "behind"):
            (source / folder).mkdir(parents=True)
            (source / folder / "file").write_text(folder)
        for folder in ("bound", "overlaid", "fuse", "memory"):
            (root / folder).mkdir(parents=True)
        (bed.data / "bound-root").mkdir()
        overlay = ",".join(f"{name}dir={source / name}" for name in ("lower", "upper", "work"))
        for command, point in (
            (["mount", "--bind", str(source / "bound")], root / "bound"),
            (["mount", "--bind", str(source / "other")], bed.data / "bound-root"),
            (["mount", "-t", "tmpfs", "tmpfs"], root / "memory"),
            (["mount", "-t", "overlay", "-o", overlay, "overlay"], root / "overlaid"),
            (["bindfs", str(source / "behind")], root / "fuse"),
        ):
            subprocess.run([*command, str(point)], check=True)
            stack.callback(subprocess.run, ["umount", str(point)], check=True)
        (root / "memory/file").write_text("memory")
        (bed.data / "file").write_text("a file")
        (bed.data / "link").symlink_to("file")
        os.mkfifo(bed.data / "fifo")
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(f"/proc/self/fd/{stack.enter_context(opened(bed.data))}/socket")
        paths = [str(bed.data / name) for name in ("root", "bound-root", "file", "link", "fifo")]
        paths.append("/etc/hosts")
        bed.configure({"app": {"paths": paths}})
        bed.init()
        bed.run("run", "app").succeeded()
        assert [line for line in bed.manifest()["warnings"] if "Renames on" not in line] == []
        tree = bed.restored("it")
        for name, content in (("bound", "bound"), ("memory", "memory"), ("fuse", "behind"), ("overlaid", "upper")):
            assert (tree / str(root).lstrip("/") / name / "file").read_text() == content
        assert (tree / str(bed.data).lstrip("/") / "bound-root/file").read_text() == "other"
        assert (tree / str(bed.data).lstrip("/") / "file").read_text() == "a file"
        assert (tree / "etc/hosts").read_text() == Path("/etc/hosts").read_text()


@contextmanager
def opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_PATH)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_what_is_confined_reads_its_roots_alone_and_ends_with_its_pipeline(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_text("in")
    (tmp_path / "file").write_text("out")
    roots = [os.fsencode(tmp_path / "root").lstrip(b"/")]
    script = 'read _ <"$1" && echo outside; cat "$2"/file'
    with bounds(roots) as within, Path(os.devnull).open("rb") as nothing:
        assert within.ruleset is not None
        shell = Command(
            ("sh", "-c", script, "sh", str(tmp_path / "file"), str(tmp_path / "root")), ruleset=within.ruleset
        )
        with Pipeline(shell, stdin=nothing) as pipeline:
            assert pipeline.stdout.read() == b"in"
        assert b"Permission denied" in pipeline.results[0].stderr
        sleeper = Command(("sleep", "1000"), ruleset=within.ruleset)
        before = children()
        with pytest.raises(KeyError):
            leave(Pipeline(sleeper, stdin=nothing))
        assert children() == before
        paths = [roots[0] + b"/file", roots[0] + b"/none", os.fsencode(tmp_path / "file").lstrip(b"/")]
        assert within.still_denied(paths) == {paths[2]}
    (tmp_path / "file").read_text()  # we ourselves are free


def leave(pipeline: Pipeline) -> None:
    before = children()
    with pipeline:
        assert len(children()) == len(before) + 1
        raise KeyError


def children() -> list[str]:
    found = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found.extend((task / "children").read_text().split())
    return found

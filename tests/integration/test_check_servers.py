"""The files of a PostgreSQL server that runs on this machine, and not in a container, are no backup of it."""

import shutil
import subprocess
from pathlib import Path

from tests.support.job import Done, Site, site
from tests.support.postgres import Server

_AS_A_UNIT = (
    *("unshare", "--mount", "sh", "-ec"),
    'mount -t proc -o hidepid=2 proc /proc; exec setpriv --bounding-set="$0" -- "$@"',
    "-all,+dac_read_search,+dac_override,+fowner",
)
"""With the privileges of `systemd/hiveden-backup@.service`, to which other processes are invisible."""


def as_a_unit(bed: Site, *arguments: str) -> Done:
    return bed.finish(bed.start(*arguments, within=_AS_A_UNIT))


def test_a_raw_copy_of_a_server_of_this_machine_is_refused(tmp_path: Path, postgres: Server) -> None:
    with site(tmp_path) as made:
        made.configure({"app": {"paths": [str(postgres.directory), str(made.data)]}})
        made.init()
        for run in (made.run, lambda *arguments: as_a_unit(made, *arguments)):
            done = run("run", "app").failed(1, f"{postgres.directory}/postmaster.pid", "runs on this machine")
            assert "`dsn`" in done.err
            assert "a crash left" not in done.err
        assert made.ids() == []
        made.change(exclude=[f"{postgres.directory}/*"])
        made.run("run", "app").succeeded()


def test_what_a_crash_or_a_copy_left_is_archived(tmp_path: Path, postgres: Server) -> None:
    """Its pid file names a process that works elsewhere, or none; in a container it was the first."""
    with site(tmp_path) as made:
        shutil.copy(postgres.directory / "postmaster.pid", made.data)
        for name, pid in (("old", "4194303"), ("container", "1"), ("damaged", "0"), ("large", "9" * 30)):
            (made.data / name).mkdir()
            (made.data / name / "postmaster.pid").write_text(f"{pid}\n")
        made.configure({"app": {"paths": [str(made.data)]}})
        made.init().run("run", "app").succeeded()
        (made.data / "postmaster.pid").unlink()
        as_a_unit(made, "run", "app").succeeded()


def test_a_number_that_may_be_another_process_is_not_taken_for_a_crash(tmp_path: Path) -> None:
    """Where the process may not be looked at, a person is told how to get out."""
    with (
        site(tmp_path) as made,
        subprocess.Popen(["setpriv", "--reuid=65534", "--clear-groups", "sleep", "60"]) as other,
    ):
        (made.data / "postmaster.pid").write_text(f"{other.pid}\n")
        made.configure({"app": {"paths": [str(made.data)]}})
        made.init()
        as_a_unit(made, "run", "app").failed(1, f"If process {other.pid} is no PostgreSQL, a crash left that file")
        made.run("run", "app").succeeded()
        other.kill()
        other.wait()
        as_a_unit(made, "run", "app").succeeded()

"""The files of a PostgreSQL server that runs on this machine, and not in a container, are no backup of it."""

import shutil
from pathlib import Path

from tests.support.job import site
from tests.support.postgres import Server


def test_a_raw_copy_of_a_server_of_this_machine_is_refused(tmp_path: Path, postgres: Server) -> None:
    with site(tmp_path) as made:
        made.configure({"app": {"paths": [str(postgres.directory), str(made.data)]}})
        made.init()
        done = made.run("run", "app").failed(1, f"{postgres.directory}/postmaster.pid", "runs on this machine")
        assert "`dsn`" in done.err
        assert made.ids() == []
        made.change(exclude=[f"{postgres.directory}/*"])
        made.run("run", "app").succeeded()


def test_what_a_crash_or_a_copy_left_is_archived(tmp_path: Path, postgres: Server) -> None:
    """Its pid file names a process that works elsewhere, or none."""
    with site(tmp_path) as made:
        shutil.copy(postgres.directory / "postmaster.pid", made.data)
        (made.data / "old").mkdir()
        (made.data / "old/postmaster.pid").write_text("4194303\n")
        made.configure({"app": {"paths": [str(made.data)]}})
        made.init().run("run", "app").succeeded()

"""Files restored over HTTP, by a unit that may write to their target alone."""

import os
import stat

import pytest

from tests.support.api_home import Home
from tests.support.machine import Machine


@pytest.fixture
def home(machine: Machine) -> Home:
    return Home(machine).furnish()


def test_files_are_restored_into_a_new_directory(home: Home) -> None:
    client = home.client
    client.post("/jobs/files/run").ok(201)
    (row,) = client.get("/backups").ok()
    for number, name in enumerate((row["filename"], row["path"], row["id"], f"files/{row['id']}")):
        body = {"backup_file": name, "target": f"/srv/back/{number}", "type": "application"}
        assert client.post("/backups/restore", body).ok()["run"].startswith("restore-")
        assert home.machine.ok("cat", f"/srv/back/{number}/srv/tree/file") == "content\n"
        assert "not empty" in client.post("/backups/restore", body).problem(400)
    inside = {"backup_file": row["id"], "target": "/srv/backups/x", "type": "application"}
    client.post("/backups/restore", inside).problem(400)
    accepted = client.post("/backups/restore?wait=false", {**inside, "target": "/srv/back/later"}).ok(202)
    assert home.ended(accepted["run"])["result"] == "success"


def test_a_restore_may_write_to_its_target_alone(home: Home) -> None:
    """Even one that would be led elsewhere; and what it unpacks has all its owners, modes and kinds."""
    tree = home.machine.path("/srv/tree")
    os.mkfifo(tree / "pipe")
    os.mknod(tree / "node", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    (tree / "suid").write_text("x")
    os.chown(tree / "suid", 1234, 5678)
    (tree / "suid").chmod(0o6755)
    os.setxattr(tree / "file", "user.hiveden", b"1")
    home.client.post("/jobs/files/run").ok(201)
    (row,) = home.client.get("/backups").ok()
    body = {"backup_file": row["id"], "target": "/srv/back/new", "type": "application"}
    home.client.post("/backups/restore", body).ok()
    back = home.machine.path("/srv/back/new/srv/tree")
    assert (back / "suid").stat().st_mode & 0o7777 == 0o6755
    assert ((back / "suid").stat().st_uid, (back / "node").stat().st_rdev) == (1234, os.makedev(1, 3))
    assert os.getxattr(back / "file", "user.hiveden") == b"1"
    home.machine.ok("ln", "-s", "/etc", "/srv/led")
    for target in ("/etc/hiveden", "/root/x", "/usr/x", "/var/lib/x", "/srv/led/x", "/srv", "/srv/backups/x"):
        home.client.post("/backups/restore", {**body, "target": target}).problem(400)
    for target in ("/tmp/hiveden-back", "/home/hiveden back", "/hiveden-top"):
        home.client.post("/backups/restore", {**body, "target": target}).ok()
        assert home.machine.ok("cat", f"{target}/srv/tree/file") == "content\n"


def test_a_path_may_have_any_line_separator_in_it(home: Home) -> None:
    """U+2028 ends a line for some readers; what a request is told and shown does not depend on them."""
    client = home.client
    client.post("/jobs/files/run").ok(201)
    (row,) = client.get("/backups").ok()
    body = {"backup_file": row["id"], "target": "/srv/back\u2028up", "type": "application"}
    assert client.post("/backups/restore", body).ok()["message"].endswith("to /srv/back\u2028up: done.")
    assert home.machine.ok("cat", "/srv/back\u2028up/srv/tree/file") == "content\n"
    answer = client.post("/backups/restore", body)
    assert "not empty" in answer.problem(400)
    assert "not empty" in client.get(f"/runs/{answer.json['run']}").ok()["error"]
    missing = {"type": "application", "target": "/srv/no\u2028thing"}
    assert "/srv/no\\u2028thing" in client.post("/backups", missing).problem(422)

"""The API under a booted systemd: its socket, its units, and what it has others do."""

import contextlib
import fcntl
import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from tests.support.api_home import SERVICE, SOCKET, Home
from tests.support.http import Client
from tests.support.job import until
from tests.support.machine import Machine

ID = r"20\d{6}T\d{6}Z"


@pytest.fixture
def home(machine: Machine) -> Home:
    return Home(machine).furnish()


# ---- the socket ------------------------------------------------------------------------------------------------------


def test_first_request_starts_it_and_idleness_ends_it(home: Home) -> None:
    home.api["idle"] = "1s"
    home.configure()
    assert not home.is_active()
    for _ in range(2):
        home.client.get("/healthz").ok()
        home.machine.until(["sh", "-c", f"! systemctl is-active --quiet {SERVICE}"])
        assert home.machine.show(SERVICE, "Result")["Result"] == "success"
        assert home.is_active("hiveden-backup-api.socket")


def test_nobody_is_turned_away_when_it_ends(home: Home) -> None:
    """Clients who come at any moment of an ending, and of the start that follows, get an answer."""
    home.api["idle"] = "1s"
    home.configure()
    for number in range(8):
        home.client.get("/healthz").ok()
        time.sleep(0.8 + number * 0.2)  # from before the ending to after it


def test_status_tells_no_next_run_that_no_timer_makes(home: Home) -> None:
    home.jobs["files"]["schedule"] = "*-*-* 02:30"
    home.configure()
    (row,) = home.client.get("/status").ok()
    assert row["next_run"] is None
    home.machine.ok("hiveden-backup", "schedule", "apply")
    (row,) = home.client.get("/status").ok()
    assert row["next_run"] is not None


def test_only_root_and_the_group_may_connect(home: Home) -> None:
    machine = home.machine
    for name, groups in (("stranger", ""), ("member", "hiveden-backup")):
        machine.run("useradd", "--system", f"--groups={groups}", name)
    curl = ("curl", "--silent", "--show-error", "--unix-socket", SOCKET, "http://localhost/healthz")
    assert machine.ok("stat", "--format=%a %U %G", SOCKET).strip() == "660 root hiveden-backup"
    assert '"ok"' in machine.ok(*curl)
    assert '"ok"' in machine.ok("setpriv", "--reuid=member", "--regid=member", "--init-groups", *curl)
    refused = machine.run("setpriv", "--reuid=stranger", "--regid=stranger", "--init-groups", *curl)
    assert refused.returncode != 0
    assert "Permission denied" in refused.stderr or "connect" in refused.stderr


def test_units_are_well_formed_and_hardened(home: Home) -> None:
    machine = home.machine
    assert machine.ok("systemd-analyze", "verify", "--man=no", SERVICE, "hiveden-backup-api.socket") == ""
    assert machine.run("systemd-analyze", "security", "--threshold=25", "--no-pager", SERVICE).returncode == 0
    home.client.get("/healthz").ok()
    pid = machine.show(SERVICE, "MainPID")["MainPID"]
    enter = ("nsenter", f"--target={pid}", "--mount", "--net", "--")
    for folder in ("/srv/backups", "/etc/hiveden-backup", "/root", "/usr"):
        assert machine.run(*enter, "touch", f"{folder}/x").returncode != 0, folder
    assert machine.ok(*enter, "sh", "-c", "tail -n +3 /proc/net/dev").split(":")[0].strip() == "lo"


def test_tcp_by_a_drop_in(home: Home) -> None:
    machine = home.machine
    port = home.listen_on_tcp()
    client = Client(("127.0.0.1", port))
    client.get("/healthz").problem(401)
    machine.write("/etc/hiveden-backup/token", "s3cret\n")
    machine.ok("chmod", "600", "/etc/hiveden-backup/token")
    home.api["token_file"] = "/etc/hiveden-backup/token"
    home.configure()
    client.get("/healthz", {"Authorization": "Bearer s3cret"}).ok()
    client.get("/healthz").problem(401)
    home.api = {"allow_loopback": True}
    home.configure()
    client.get("/healthz").ok()
    client.get("/healthz", {"Host": "evil.example"}).problem(403)


# ---- backups ---------------------------------------------------------------------------------------------------------


def test_a_run_is_that_of_the_jobs_unit(home: Home) -> None:
    made = home.client.post("/backups", {"type": "application", "target": "/srv/tree"}).ok(201)
    assert made["path"] == f"/srv/backups/files/{made['id']}"
    (row,) = home.client.get("/backups?target=files").ok()
    assert row["id"] == made["id"]
    (run,) = home.client.get("/runs?job=files").ok()
    assert (run["backup"], run["result"], run["trigger"]) == (made["id"], "success", "api")
    entries = home.machine.journal("--unit=hiveden-backup@files.service", "--grep=Finished backup")
    assert made["id"] in entries[-1]["MESSAGE"]


def test_without_waiting_it_can_be_asked_for(home: Home) -> None:
    accepted = home.client.post("/backups?wait=false", {"type": "application", "target": "files"}).ok(202)
    run = home.ended(accepted["run"])
    assert (run["result"], run["job"]) == ("success", "files")
    assert run["backup"] == home.client.get("/backups").ok()[0]["id"]
    home.client.post("/jobs/files/run").ok(201)


def test_a_failed_run_tells_why(home: Home) -> None:
    home.machine.ok("rm", "-r", "/srv/tree")
    answer = home.client.post("/jobs/files/run")
    assert "/srv/tree" in answer.problem(404)
    assert answer.json["exit_code"] == 66
    assert home.client.get(f"/runs/{answer.json['run']}").ok()["result"] == "failed"


def test_a_run_outlives_the_client_and_the_service(home: Home) -> None:
    with home.slow_run() as run:
        with home.client.connected() as connection:  # a client that waits, and hangs up
            connection.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert "goes on" in home.client.post("/jobs/slow/run").problem(409)
        pid = int(home.machine.show(SERVICE, "MainPID")["MainPID"])
        home.machine.ok("kill", "-KILL", str(pid))
    assert home.ended(run)["result"] == "success"
    assert home.client.get("/backups?target=slow").ok()


def test_fifty_readers_during_a_run(home: Home) -> None:
    with home.slow_run() as run, ThreadPoolExecutor(50) as pool:
        paths = ["/backups", "/status", "/jobs", "/runs", f"/runs/{run}"] * 10
        answers = list(pool.map(lambda path: home.client.get(path).ok(), paths))
        assert all(answer == [] for answer in answers[::5])
        assert {answer["result"] for answer in answers[4::5]} == {"running"}
    assert home.ended(run)["result"] == "success"


def test_a_timed_run_and_one_by_the_api_at_once(home: Home) -> None:
    """They never run side by side: who asks while a timed run goes on is told so, and has a run afterwards."""
    home.slow_job(schedule="*:*:0/2")
    home.machine.ok("hiveden-backup", "schedule", "apply")
    with home.stopped_run():
        assert "goes on" in home.client.post("/jobs/slow/run").problem(409)
        assert home.client.get("/runs?job=slow").ok()[0]["trigger"] == "timer"
        home.machine.ok("hiveden-backup", "schedule", "unset", "slow")
    until(lambda: home.client.get("/runs?job=slow").ok()[0]["result"] != "running", "the timed run has ended", 120)
    made = home.client.post("/jobs/slow/run").ok(201)
    runs = home.client.get("/runs?job=slow").ok()
    assert (runs[0]["backup"], runs[0]["trigger"]) == (made["id"], "api")
    assert {run["result"] for run in runs} == {"success"}
    assert all(older["finished"] <= newer["started"] for newer, older in pairwise(runs))


def test_verify_and_delete(home: Home) -> None:
    client = home.client
    first, second = (client.post("/jobs/files/run").ok(201)["id"] for _ in range(2))
    assert "whole" in client.post(f"/backups/files/{second}/verify").ok()["message"]
    rows = {row["id"]: row for row in client.get("/backups").ok()}
    assert (rows[first]["verified"], rows[second]["verified"]["result"]) == (None, "ok")
    said = client.call("DELETE", f"/backups/{rows[second]['filename']}").ok()
    assert f"Removed the whole backup files/{second}: application files." == said["message"]
    assert [row["id"] for row in client.get("/backups").ok()] == [first]
    client.call("DELETE", f"/backups/{rows[second]['filename']}").problem(404)


def test_a_damaged_backup_is_told(home: Home) -> None:
    made = home.client.post("/jobs/files/run").ok(201)
    home.machine.ok("sh", "-c", "for f in /srv/backups/files/archives/*; do printf x >>$f; done")
    answer = home.client.post(f"/backups/files/{made['id']}/verify")
    answer.problem(500)
    assert answer.json["exit_code"] == 65
    assert home.client.get("/backups").ok()[0]["verified"]["result"] == "corrupt"


def test_a_command_that_is_killed_is_told_in_systemds_words(home: Home) -> None:
    machine, units = home.machine, "hiveden-backup-init-*.service"
    descriptor = os.open(machine.path("/etc/hiveden-backup"), os.O_RDONLY)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        pool = stack.enter_context(ThreadPoolExecutor(1))
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # who changes the configuration waits
        answer = pool.submit(home.client.call, "PUT", "/config/backups", {"retention_count": 3})
        machine.until(["sh", "-c", f"systemctl list-units --no-legend '{units}' | grep -q ' running '"])
        machine.ok("systemctl", "kill", "--signal=KILL", units)
        detail = answer.result().problem(500)
    assert "ended without a word; systemd says signal" in detail
    told = home.client.get(f"/runs/{answer.result().json['run']}").ok()
    assert (told["result"], told["exit_code"], told["error"]) == ("failed", 128 + 9, detail)


# ---- new targets -----------------------------------------------------------------------------------------------------


def test_a_new_path_gets_a_job_of_its_own(home: Home) -> None:
    home.machine.write("/srv/My Photos/one.jpg", "picture")
    body = {"type": "application", "target": "/srv/My Photos"}
    made = home.client.post("/backups", body).ok(201)
    assert "new job my-photos" in made["message"]
    assert made["path"].startswith("/srv/backups/my-photos/")
    (job,) = [job for job in home.client.get("/jobs").ok() if job["name"] == "my-photos"]
    assert (job["paths"], job["schedule"]) == (["/srv/My Photos"], [])
    assert "my-photos" in home.machine.ok("cat", "/etc/hiveden-backup/config.d/90-managed.toml")
    assert "The job my-photos" in home.client.post("/backups", body).ok(201)["message"]
    assert len(home.client.get("/backups?target=my-photos").ok()) == 2


def test_two_clients_who_want_the_same_get_one_job(home: Home) -> None:
    home.machine.write("/srv/music/one.ogg", "sound")
    body = {"type": "application", "target": "music", "source_dirs": ["/srv/music"]}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: home.client.post("/backups", body), range(4)))
    assert {answer.status for answer in answers} <= {201, 409}
    assert 201 in {answer.status for answer in answers}
    assert [job["name"] for job in home.client.get("/jobs").ok()] == ["files", "music"]


def test_a_path_that_is_not_there_makes_no_job(home: Home) -> None:
    home.client.post("/backups", {"type": "application", "target": "/srv/nothing"}).problem(422)
    home.client.post("/backups", {"type": "application", "target": "/srv/backups"}).problem(422)
    assert [job["name"] for job in home.client.get("/jobs").ok()] == ["files"]


@pytest.fixture
def database(home: Home) -> str:
    """A server in a container, with the database `shop`."""
    docker = home.machine.docker
    assert docker is not None
    return docker.postgres(user="postgres", database="shop")


def test_a_database_of_a_configured_server_gets_a_job(home: Home, database: str) -> None:
    home.jobs["db"] = {"postgres": [{"container": database, "databases": ["postgres"]}]}
    home.configure()
    body = {"type": "database", "target": "shop"}
    made = home.client.post("/backups", body).ok(201)
    assert made["path"] == f"/srv/backups/shop/{made['id']}/database.{database}.shop.dump.zst"
    (row,) = home.client.get("/backups?type=database&target=shop").ok()
    assert row["filename"] == f"shop.{made['id']}.database.{database}.shop"
    assert "The job shop" in home.client.post("/backups", body).ok(201)["message"]
    assert "nobody" in home.client.post("/backups", {"type": "database", "target": "nobody"}).problem(422)
    copy = {"backup_file": row["filename"], "target": "shop_copy", "type": "database"}
    home.client.post("/backups/restore", copy).ok()
    assert "shop_copy" in home.databases(database)


def test_a_job_that_takes_all_databases_is_the_one(home: Home, database: str) -> None:
    home.jobs["db"] = {"postgres": [{"container": database}]}
    home.configure()
    body = {"type": "database", "target": "shop"}
    assert "The job db" in home.client.post("/backups", body).ok(201)["message"]
    assert [job["name"] for job in home.client.get("/jobs").ok()] == ["files", "db"]
    assert "The job db" in home.client.post("/backups", body).ok(201)["message"]


def test_a_database_is_restored_by_the_swap_and_undo_reverses_it(home: Home, database: str) -> None:
    home.jobs["db"] = {"postgres": [{"container": database, "databases": ["shop"]}]}
    home.configure()
    home.sql(database, "CREATE TABLE sale AS SELECT 1 AS id")
    made = home.client.post("/backups", {"type": "database", "target": "shop"}).ok(201)
    home.sql(database, "UPDATE sale SET id = 2")
    body = {"backup_file": made["path"], "target": "shop", "type": "database"}
    home.client.post("/backups/restore", body).ok()
    assert home.sql(database, "SELECT id FROM sale") == "1"
    assert any(name.startswith("shop_before_") for name in home.databases(database))
    home.machine.ok("hiveden-backup", "undo", "db", "--yes")
    assert home.sql(database, "SELECT id FROM sale") == "2"


# ---- settings and schedules ------------------------------------------------------------------------------------------


def test_settings_are_written_and_the_directory_is_made(home: Home) -> None:
    client, machine = home.client, home.machine
    wanted = {"directory": "/srv/other place", "retention_count": 3}
    assert client.call("PUT", "/config/backups", wanted).ok() == wanted
    assert client.get("/api/backups/config").ok() == wanted
    assert machine.ok("hiveden-backup", "config", "get", "retention.keep_last").strip() == "3"
    made = client.post("/jobs/files/run").ok(201)  # its unit may write there now
    assert made["path"].startswith("/srv/other place/files/")
    assert client.call("PUT", "/backups/config", {"retention_count": 4}).ok() == {**wanted, "retention_count": 4}


def test_directories_that_cannot_be(home: Home) -> None:
    before = home.machine.run("find", "/srv", "/etc/hiveden-backup").stdout
    for directory in (
        "relative",
        "/",
        "/srv/../etc",
        "/srv/tree",
        "/srv/tree/file",
        "/srv",
        "/etc/apt",
    ):
        home.client.call("PUT", "/config/backups", {"directory": directory, "retention_count": 3}).problem(422)
    assert home.machine.run("find", "/srv", "/etc/hiveden-backup").stdout == before


def test_a_directory_below_the_path_of_a_job_can_be(home: Home) -> None:
    """The job leaves it out."""
    wanted = {"directory": "/srv/tree/new", "retention_count": 3}
    assert home.client.call("PUT", "/config/backups", wanted).ok() == wanted
    home.client.post("/jobs/files/run").ok(201)


def test_a_disk_that_is_not_mounted_is_not_initialised(home: Home) -> None:
    home.client.post("/jobs/files/run").ok(201)
    home.machine.ok("mv", "/srv/backups", "/srv/unplugged")
    home.client.call("PUT", "/config/backups", {"directory": "/srv/backups", "retention_count": 5}).ok()
    assert home.machine.run("test", "-e", "/srv/backups").returncode != 0


def schedule_of(home: Home, job: str) -> list[dict[str, Any]]:
    return [row for row in home.client.get("/backups/schedules").ok() if row["id"] == job]


def test_schedules_come_and_go(home: Home) -> None:
    client, machine = home.client, home.machine
    body = {"type": "application", "target": "files", "cron": "30 2 * * *"}
    row = client.post("/backups/schedules", body).ok(201)
    assert (row["id"], row["cron"], row["target"], row["source_dirs"]) == (
        "files",
        "30 2 * * *",
        "files",
        ["/srv/tree"],
    )
    assert schedule_of(home, "files") == [row]
    assert machine.show("hiveden-backup@files.timer", "ActiveState")["ActiveState"] == "active"
    made = client.post("/jobs/files/run").ok(201)
    # Clients change a schedule by deleting it and making it anew from what they were told.
    client.call("DELETE", "/backups/schedules/files").ok()
    assert schedule_of(home, "files") == []
    assert machine.run("systemctl", "is-active", "hiveden-backup@files.timer").returncode != 0
    again = client.post("/backups/schedules", {**row, "cron": "0 4 * * 1-5"}).ok(201)
    assert again == {**row, "cron": "0 4 * * 1-5"}
    assert [each["id"] for each in client.get("/backups").ok()] == [made["id"]]
    assert [job["name"] for job in client.get("/jobs").ok()] == ["files"]


def test_a_schedule_for_a_new_target(home: Home) -> None:
    home.machine.write("/srv/new/file", "x")
    row = home.client.post("/backups/schedules", {"type": "application", "target": "/srv/new", "cron": "daily"}).ok(201)
    assert (row["id"], row["cron"], row["source_dirs"]) == ("new", "0 0 * * *", ["/srv/new"])
    assert home.machine.show("hiveden-backup@new.timer", "ActiveState")["ActiveState"] == "active"
    home.client.post("/jobs/new/run").ok(201)


def test_a_schedule_that_cron_cannot_say_is_left_out(home: Home) -> None:
    home.jobs["files"]["schedule"] = "Mon *-*-01..07 03:00"
    home.configure()
    assert schedule_of(home, "files") == []
    (job,) = home.client.get("/jobs").ok()
    assert (job["cron"], job["schedule"]) == (None, ["Mon *-*-01..07 03:00"])

"""The README's units that tell of a failed run, with a server of ours instead of the services it names."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue
from threading import Thread

from tests.support.machine import Machine
from tests.support.readme import section

PATIENCE = 120.0
CONFIG = """
directory = "/srv/backups"
[jobs.immich]
paths = ["/srv/photos"]
"""


@contextmanager
def listener() -> Iterator[tuple[str, "Queue[tuple[str, str, str]]"]]:
    """A web server on this machine: its address, and the paths, titles and bodies that it gets."""
    heard: Queue[tuple[str, str, str]] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer("")

        def do_POST(self) -> None:
            self.answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

        def answer(self, body: str) -> None:
            heard.put((self.path, self.headers.get("Title", ""), body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", heard
        finally:
            server.shutdown()
            thread.join()


def test_a_failed_run_sends_a_message(machine: Machine) -> None:
    failure, alert, success = section("Know when it fails", "ini")
    machine.write("/etc/hiveden-backup/config.toml", CONFIG)
    machine.write("/srv/photos/IMG_7.jpg", "photo")
    machine.ok("hiveden-backup", "init", "--directory", "/srv/backups")
    machine.ok("hiveden-backup", "schedule", "apply")
    with listener() as (address, heard):
        units = "/etc/systemd/system"
        machine.write(
            f"{units}/hiveden-backup@.service.d/alert.conf", failure + re.sub(r"https://[\w.-]+", address, success)
        )
        machine.write(f"{units}/hiveden-backup-alert@.service", re.sub(r"https://[\w.-]+", address, alert))
        machine.ok("sh", "-euc", section("Know when it fails")[0])
        path, title, body = heard.get(timeout=PATIENCE)
        assert (path, title) == ("/MY-TOPIC", "Backup job immich failed")
        assert "never" in body

        machine.ok("systemctl", "start", "hiveden-backup@immich.service")
        assert heard.get(timeout=PATIENCE) == ("/MY-CHECK", "", "")

        machine.path("/srv/photos/IMG_7.jpg").unlink()
        machine.path("/srv/photos").rmdir()
        assert machine.run("systemctl", "start", "hiveden-backup@immich.service").returncode
        path, title, body = heard.get(timeout=PATIENCE)
        assert (path, title) == ("/MY-TOPIC", "Backup job immich failed")
        assert "/srv/photos" in body
        try:
            said_more = heard.get(timeout=1)
        except Empty:
            said_more = None
        assert said_more is None

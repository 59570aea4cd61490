"""The README's chapter on the API, its lines run as they stand there under a booted systemd."""

import json
import re
from typing import Any

import pytest

from tests.support.api_home import UNITS, Home
from tests.support.http import free_port
from tests.support.machine import CHECKOUT, Machine

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
CHAPTER = README.split("\n## The HTTP API\n")[1].split("\n## ")[0]
ID = "20261123T023000Z"


def blocks(language: str = "sh") -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", CHAPTER, re.DOTALL | re.MULTILINE)
    assert found
    return found


@pytest.fixture
def home(machine: Machine) -> Home:
    """A machine without the API's units, and a job `immich`."""
    machine.run("groupdel", "hiveden-backup")
    made = Home(machine)
    made.jobs["immich"] = {"paths": ["/srv/immich"]}
    machine.write("/srv/immich/photo.jpg", "picture")
    machine.write("/srv/wiki/page", "text")
    made.configure()
    machine.ok("hiveden-backup", "init", "--directory", "/srv/backups")
    return made


def said(home: Home, line: str) -> str:
    """What a line prints; curl says no when it is refused."""
    line = line.replace("curl ", "curl --silent --show-error --fail-with-body ")
    return home.machine.ok("bash", "-euc", f"cd /checkout; {line}")


def test_the_chapter(home: Home) -> None:
    lines = [line for block in blocks()[:-2] for line in block.splitlines()]
    answers: list[Any] = []
    backup = ID
    for line in lines:
        printed = said(home, line.replace(ID, backup).replace("/var/restored", "/srv/restored"))
        if not line.startswith("curl "):
            continue
        answers.append(json.loads(printed))
        if answers[-1] and "id" in answers[-1] and "path" in answers[-1]:
            backup = backup if backup != ID else answers[-1]["id"]
        if "run" in answers[-1] and line.endswith("wait=false'"):
            assert home.ended(answers[-1]["run"])["result"] == "success"
    assert len(answers) == 13
    assert home.machine.ok("cat", "/srv/restored/srv/immich/photo.jpg") == "picture"
    rows = {row["job"] for row in home.client.get("/backups").ok()}
    assert rows == {"immich", "wiki"}
    assert backup not in {row["id"] for row in home.client.get("/backups?target=immich").ok()}


def test_tcp(home: Home) -> None:
    port = free_port("127.0.0.1")
    (drop_in,) = blocks("ini")
    token, curl = blocks()[-2:]
    for line in blocks()[0].splitlines():
        said(home, line)
    home.machine.write(
        f"/etc/systemd/system/{UNITS[0]}.d/override.conf", drop_in.replace("192.0.2.7:8421", f"127.0.0.1:{port}")
    )
    home.machine.ok("systemctl", "daemon-reload")
    for line in token.splitlines():
        said(home, line)
    (status,) = json.loads(said(home, curl.replace("192.0.2.7:8421", f"127.0.0.1:{port}")))
    assert status["job"] == "immich"


def test_every_endpoint_is_told_of(home: Home) -> None:
    for line in blocks()[0].splitlines():
        said(home, line)
    home.machine.ok("systemctl", "start", UNITS[0])
    told = {path.partition("?")[0] for path in re.findall(r"`(?:[A-Z]+ )?(/[^` ]+)`", CHAPTER)}
    assert set(home.client.get("/openapi.json").ok()["paths"]) <= told

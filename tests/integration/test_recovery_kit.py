"""`recovery-kit`: what is on the page of a real installation, and what never is."""

import json
import stat
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_lines import command_lines, exists
from tests.support.job import Site, site
from tests.support.offsite_home import configured, new_key

KEY = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
OTHER_KEY = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"
CONFIGURATION = "[b2]\ntype = b2\naccount = 0012\nkey = TOPSECRET\n"


@pytest.fixture
def kitted(tmp_path: Path) -> Iterator[Site]:
    """An installation with an offsite, of which nothing is sent."""
    with site(tmp_path / "site") as made:
        (made.path / "rclone.conf").write_text(CONFIGURATION)
        place = {"remote": "b2:bucket/it", "rclone_config": str(made.path / "rclone.conf"), "recipients": [KEY]}
        made.configure({"app": {"paths": [str(made.data)]}}, offsite={"b2": place})
        yield made.init()


def test_has_what_is_needed_and_no_secret(kitted: Site) -> None:
    said = kitted.run("recovery-kit").succeeded().out
    host = json.loads((kitted.state / "host.json").read_text())["id"]
    public = subprocess.run(
        ["ssh-keygen", "-y", "-f", kitted.state / "key"], capture_output=True, text=True, check=True
    ).stdout.strip()
    fingerprint = kitted.run("config", "show", "--key").succeeded().out.strip()
    for part in (
        host,
        f"-{host[:8]}",
        public,
        fingerprint,
        str(kitted.backups),
        KEY,
        str(kitted.data),
        "account = 0012",
    ):
        assert part in said
    assert "TOPSECRET" not in said
    assert "BEGIN OPENSSH" not in said
    assert "remote='b2:bucket/it/" in said


def test_the_folder_is_the_one_that_was_taken_whatever_the_host_is_called_now(kitted: Site) -> None:
    kitted.run("recovery-kit").succeeded()
    before = f"before-{json.loads((kitted.state / 'host.json').read_text())['id'][:8]}"
    (kitted.state / "offsite/b2").mkdir(parents=True)
    (kitted.state / "offsite/b2/.place.json").write_text(json.dumps({"remote": "b2:bucket/it", "host": before}))
    said = kitted.run("recovery-kit").succeeded().out
    assert f"--host {before} " in said
    assert f"remote='b2:bucket/it/{before}/" in said


def test_its_command_lines_are_the_programs(kitted: Site) -> None:
    said = kitted.run("recovery-kit").succeeded().out
    whole = said.replace(" \\\n", " ").replace("set --", "hiveden-backup list")
    lines = [line.strip() for line in whole.splitlines() if line.strip().startswith("hiveden-backup ")]
    assert len(lines) >= 3
    for words in command_lines("```sh\n" + "\n".join(lines) + "\n```\n"):
        assert exists(words)


def test_the_drawing_is_for_root_and_can_be_drawn(kitted: Site) -> None:
    sheet = kitted.path / "kit.svg"
    kitted.run("recovery-kit", "--svg", str(sheet)).succeeded()
    assert stat.S_IMODE(sheet.stat().st_mode) == 0o600
    assert KEY in "".join(ET.parse(sheet).getroot().itertext())
    assert "TOPSECRET" not in sheet.read_text()


def test_an_identity_is_on_it_only_by_its_option(kitted: Site) -> None:
    identity = kitted.path / "identity.txt"
    subprocess.run(["age-keygen", "-o", identity], capture_output=True, check=True)
    secret = identity.read_text().splitlines()[-1]
    assert secret in kitted.run("recovery-kit", "--with-identity", str(identity)).succeeded().out
    assert secret not in kitted.run("recovery-kit").succeeded().out
    kitted.run("recovery-kit", "--with-identity", str(kitted.config)).failed(2, "no identity")
    kitted.run("recovery-kit", "--with-identity", "/nowhere").failed(66, "cannot be read")


def reminder(kitted: Site) -> str:
    """What `check` says of the kit: its status."""
    done = kitted.run("check", "--json")
    assert not done.err
    (status,) = [row["status"] for row in done.json if row["name"] == "recovery kit"]
    return str(status)


def test_check_reminds_until_it_is_confirmed_and_when_it_has_changed(kitted: Site) -> None:
    usb = kitted.path / "usb"
    usb.mkdir()
    places = {"usb": {"remote": str(usb), "recipients": [KEY]}}
    kitted.configure({"app": {"paths": [str(kitted.data)]}}, offsite=places)
    assert reminder(kitted) == "WARN"
    kitted.run("recovery-kit", "--confirm").succeeded()
    assert reminder(kitted) == "OK"
    places["usb"]["recipients"] = [OTHER_KEY]
    kitted.configure({"app": {"paths": [str(kitted.data)]}}, offsite=places)
    assert reminder(kitted) == "WARN"


def test_what_is_confirmed_is_remembered(kitted: Site) -> None:
    kitted.run("recovery-kit", "--confirm").succeeded()
    record = json.loads((kitted.state / "recovery-kit.json").read_text())
    assert record.pop("at").endswith("Z")
    assert record == {"recipients": [KEY], "offsites": {"b2": "b2:bucket/it"}}
    kitted.run("recovery-kit", "--confirm", "--svg", "x").failed(2, "--confirm goes alone")


def test_rclones_configuration_may_be_away_or_closed(kitted: Site) -> None:
    (kitted.path / "rclone.conf").write_text("RCLONE_ENCRYPT_V0:\nabc")
    assert "is encrypted" in kitted.run("recovery-kit").succeeded().out
    (kitted.path / "rclone.conf").unlink()
    assert "cannot be read" in kitted.run("recovery-kit").succeeded().out


def test_its_steps_bring_everything_back_on_a_bare_machine(tmp_path: Path) -> None:
    """As they are typed, but for the program's and the key's place."""
    key = new_key(tmp_path / "identity.txt")
    with site(tmp_path / "old") as old, site(tmp_path / "bare") as bare:
        home = configured(old, tmp_path / "there", key)
        (old.data / "file").write_text("precious")
        old.init()
        home.backup()
        home.pushed()
        said = old.run("recovery-kit").succeeded().out
        steps = said.partition("WITH hiveden-backup")[2].partition("WITHOUT IT")[0]
        typed = [line.strip() for line in steps.splitlines() if line.startswith("   ")]
        assert typed[0].startswith("set -- --from")
        for place in (old.data / "file", old.config, old.state / "key"):
            place.unlink()
        program = f'"{sys.executable}" -m hiveden_backup --config "{bare.config}"'
        script = "\n".join(typed).replace("hiveden-backup ", f"{program} ").replace("JOB/", "app/")
        script = script.replace("/root/identity.txt", str(key.path)).replace(str(old.backups), str(bare.backups))
        done = subprocess.run(
            ["sh", "-euc", script], env=bare.environment, cwd=bare.path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        assert (old.data / "file").read_text() == "precious"

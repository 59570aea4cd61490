"""The guides: found without a network and a configuration, and with no command in them that does not exist."""

import json
import re
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hiveden_backup.cli.app import app
from hiveden_backup.core.config.parse import parse
from tests.support.command_lines import PROGRAM, command_lines, exists
from tests.support.readme import GUIDES as PLACE
from tests.support.readme import LEAVING, section

CHECKOUT = Path(__file__).resolve().parents[4]
GUIDES = {path.stem: path.read_text(encoding="utf-8") for path in PLACE.iterdir()}
TOPICS = pytest.mark.parametrize("topic", sorted(GUIDES))
LINES = sorted({tuple(words) for text in GUIDES.values() for words in command_lines(text)})
NO_CONFIGURATION = {"HIVEDEN_BACKUP_CONFIG": "/nowhere", "STATE_DIRECTORY": "/nowhere"}


def said(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["guide", *words], prog_name=PROGRAM, env=NO_CONFIGURATION)
    assert done.exit_code == code
    return done.output


@TOPICS
def test_a_guide_is_printed_as_it_is(topic: str) -> None:
    assert said(topic) == GUIDES[topic]
    assert json.loads(said(topic, "--json"))["text"] == GUIDES[topic]


def test_all_are_listed_with_a_line_each() -> None:
    lines = said().splitlines()[1:]
    assert [line.split()[0] for line in lines] == sorted(GUIDES)
    assert max(map(len, lines)) <= 100
    assert [each["topic"] for each in json.loads(said("--json"))] == sorted(GUIDES)


def test_an_unknown_topic_names_those_that_there_are() -> None:
    text = said("nonsense", code=66)
    assert all(topic in text for topic in GUIDES)


@TOPICS
def test_a_guide_fits_a_terminal(topic: str) -> None:
    """Its first line is its title, and plain text is all that there is in it."""
    assert re.match(r"# \S.*\n\n", GUIDES[topic])
    assert max(map(len, GUIDES[topic].splitlines())) <= 128
    assert GUIDES[topic].isascii()


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_a_guides_command_line_exists(words: Sequence[str]) -> None:
    assert exists(words)


@TOPICS
def test_a_guides_configuration_is_valid(topic: str) -> None:
    for text in re.findall(r"^```toml\n(.*?)^```$", GUIDES[topic], re.DOTALL | re.MULTILINE):
        assert parse({"directory": "/srv/backups", **tomllib.loads(text)}, lambda _: topic).offsites


def test_packages_have_them() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "guides/*.md" in project["tool"]["setuptools"]["package-data"]["hiveden_backup"]
    assert all(path.suffix == ".md" for path in PLACE.iterdir())


@pytest.mark.parametrize("before", ["", "there", "back"])
def test_leaving_an_offsite_decrypts_into_what_it_has_made_alone(tmp_path: Path, before: str) -> None:
    """A directory that was there may be another user's."""
    _, _, files, _ = section("From an offsite: the backup directory is gone", page=LEAVING)
    start = files.partition("cd /var/tmp/there\n")[0].replace("/var/tmp/", f"{tmp_path}/")
    if before:
        (tmp_path / before).mkdir()
    done = subprocess.run(["sh", "-c", f"umask 022; backup=1\n{start}\n: > {tmp_path}/back/file"], check=False)
    assert (done.returncode == 0) == (not before)
    assert (tmp_path / "back/immich/1").exists() == (not before)
    if not before:
        assert {each.stat().st_mode & 0o077 for each in tmp_path.rglob("*")} == {0}

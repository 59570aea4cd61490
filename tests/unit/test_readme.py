"""What README.md says, held against the program: configurations, command lines, exit codes, links, defaults, space."""

import dataclasses
import re
import shlex
import subprocess
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from hiveden_backup import __version__
from hiveden_backup.core import errors, spans
from hiveden_backup.core.config.parse import complete_table, parse
from hiveden_backup.core.config.starter import starter_configuration
from hiveden_backup.core.config.values import Api, Config, Job, Offsite, PostgresSource, Retention
from tests.support.command_lines import command_lines, exists, listed, usage
from tests.support.year import DAYS, MB, files, kept_each_day, year

CHECKOUT = Path(__file__).resolve().parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
TEXT = " ".join(README.split())


# ---- reading the page ----------------------------------------------------------------------------------------------


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert found
    return found


def rows(head: str) -> list[list[str]]:
    """The cells of the table whose first row begins with `head`."""
    lines = iter(README.splitlines())
    for line in lines:
        if line.startswith(f"| {head} |"):
            break
    next(lines)
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    assert found
    return found


def as_configuration(text: str) -> Config:
    """What the program makes of a block; one that is a part of a configuration gets what it lacks."""
    table = tomllib.loads(text)
    return parse({"directory": "/srv/backups", **table}, lambda _: "README.md")


# ---- configuration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", blocks("toml"), ids=lambda text: text.strip().partition("\n")[0])
def test_configuration_is_valid(text: str) -> None:
    assert as_configuration(text).jobs


def test_full_example_has_every_key() -> None:
    table = tomllib.loads(next(text for text in blocks("toml") if text.startswith("directory =")))
    jobs = table["jobs"].values()
    tables = {
        Config: [table],
        Retention: [table["retention"]],
        Job: jobs,
        PostgresSource: [source for job in jobs for source in job["postgres"]],
        Api: [table["api"]],
        Offsite: table["offsite"].values(),
    }
    for shape, examples in tables.items():
        names = {field.name for field in dataclasses.fields(shape) if field.init}
        wanted = {{"offsites": "offsite"}.get(name, name) for name in names - {"name"}}
        assert wanted == {key for example in examples for key in example}, shape


def test_defaults_are_the_programs() -> None:
    sample = "[jobs.a]\npaths = ['/a']\n[[jobs.a.postgres]]\ncontainer = 'c'"
    effective = complete_table(as_configuration(f"{sample}\n[offsite.n]\nremote = '/there'\nencrypt = false"))
    job = effective["jobs"]["a"]  # type: ignore[index] # tables of tables
    own = {"": job, "[retention]": effective["retention"], "[[jobs.NAME.postgres]]": job["postgres"][0]}
    own["[api]"] = effective["api"]
    own["[offsite.NAME]"] = effective["offsite"]["n"]  # type: ignore[index]
    told: dict[str, set[str]] = {name: set() for name in own}
    for keys, default, _ in rows("key"):
        place = next((name for name in own if name and f"`{name}`" in keys), "")
        names = re.findall(r"`([a-z_]+)`", keys) or list(own[place])
        told[place].update(names)
        for name in names:
            value = None if default == "none" else tomllib.loads(f"value = {default.strip('`')}")["value"]
            if name not in ("paths", "remote", "encrypt"):  # which the configuration above needed
                assert comparable(own[place][name]) == comparable(value), name
    required = {"container", "dsn", "retention"}
    assert not told[""] - job.keys()
    for name, table in own.items():
        assert table.keys() - told[name] - required == ({"postgres"} if table is job else set()), name


def comparable(value: object) -> object:
    """A value of the configuration; of a span, its seconds, however it is written."""
    with suppress(ValueError):
        return spans.parse(value) if isinstance(value, str) else value
    return value


# ---- the command line ----------------------------------------------------------------------------------------------


LINES = sorted({tuple(words) for words in command_lines(README)})


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_command_line_exists(words: Sequence[str]) -> None:
    assert exists(words)


@pytest.mark.parametrize(
    "line",
    [
        "timers",
        "verify --all --drill",
        "restore --to /a",
        "config drop a",
        "--quick run --all",
        "diff a",
        "list --job",
    ],
)
def test_wrong_command_line_is_noticed(line: str) -> None:
    assert not exists(line.split())


def test_command_lines_are_found() -> None:
    assert len(LINES) > 20
    assert ("schedule", "apply") in LINES
    assert ("run", "JOB") in LINES


def test_every_command_is_told_of() -> None:
    told = {word for words in LINES for word in words}
    assert not set(listed(usage(), "Commands")) - told


def test_quickstart_has_these_options() -> None:
    known = subprocess.run([CHECKOUT / "packaging/quickstart", "--help"], capture_output=True, check=True, text=True)
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("packaging/quickstart")]
    assert lines
    for word in shlex.split(" ".join(lines), comments=False):
        assert not word.startswith("--") or word in known.stdout


# ---- exit codes, links, version ------------------------------------------------------------------------------------


def test_exit_codes_are_the_programs() -> None:
    classes = [
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.BackupError)
    ]
    told = [code for code, _ in rows("code")]
    assert [int(code) for code in told[:-1]] == sorted({0, *(each.exit_code for each in classes)})
    assert told[-1] == "128 + n"
    assert f"{errors.Interrupted(2).exit_code} by Ctrl-C" in TEXT
    assert f"{errors.Interrupted(15).exit_code} by `kill`" in TEXT


def test_links_lead_somewhere() -> None:
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert targets
    for target in targets:
        path, _, anchor = re.sub("^https://.*", "", target).partition("#")
        assert not path or (CHECKOUT / path).exists(), target
        assert not anchor or anchor in anchors, target


def test_version_is_this_one() -> None:
    assert f"Version {__version__} " in TEXT
    assert f"## [{__version__}]" in (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8")


# ---- space ---------------------------------------------------------------------------------------------------------

SUGGESTED = as_configuration(starter_configuration("/srv/backups")).retention


def megabytes(cell: str) -> int:
    number, unit = cell.split()
    return int(number) * {"MB": 1, "GB": 1000}[unit]


def test_suggested_retention_is_what_is_told() -> None:
    assert Retention(keep_last=7, keep_daily=14, keep_weekly=8, keep_monthly=12) == SUGGESTED
    assert "with the 7 last, 14 daily, 8 weekly and 12 monthly" in TEXT


@pytest.mark.parametrize("cells", rows("first backup"), ids=lambda cells: cells[0])
def test_a_year_costs_what_is_told(cells: Sequence[str]) -> None:
    """As a hundred files to begin with, or more if an archive would be too small for one, and ten each day."""
    first, added, rewritten, dump, formula, whole = (megabytes(cell) for cell in cells)
    kept = kept_each_day(SUGGESTED)
    count = len(kept[-1])
    computed = first + DAYS * added + count * (rewritten + dump)
    same = files("rewritten", rewritten * MB, 10)
    made = year(
        {**files("0", (first - rewritten) * MB, max(100, first // 100)), **same},
        lambda day: {**files(f"{day:03}", added * MB, 10), **same},
        kept,
    )
    gigabytes = [round(size / 1000) * 1000 for size in (computed, made.stored / MB + count * dump)]
    assert [formula, whole] == gigabytes, f"the program's rules give {gigabytes}"
    assert f"N is the number of backups that are kept: {count} after a year of daily ones" in TEXT

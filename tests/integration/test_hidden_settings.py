"""Values of a person's files that later files override: they are told of, and what the program wrote goes again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hiveden_backup.jobs.setup import managed
from tests.support.job import Site, site

MANAGED = "config.d/90-managed.toml"


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        (made.data / "file").write_text("x")
        made.configure({"app": {"paths": [str(made.data)], "schedule": "*-*-* 02:30"}, "other": {"paths": ["/etc"]}})
        yield made.init()


def warnings(bed: Site, *jobs: str) -> list[dict[str, Any]]:
    return [each for each in bed.run("check", *jobs, "--json").json if each["name"] == "configuration"]


def test_an_edit_that_has_no_effect_is_told(bed: Site) -> None:
    """Both files and the key are named, until nothing is hidden any more."""
    assert warnings(bed) == []
    bed.run("config", "set", "jobs.app.schedule", "*-*-* 04:00").succeeded()
    bed.run("config", "set", "retention.keep_last", "5").succeeded()
    bed.change(schedule="*-*-* 05:00")
    (told,) = warnings(bed)
    assert (told["job"], told["status"]) == ("app", "WARN")
    assert all(word in told["message"] for word in ("jobs.app.schedule", "config.toml", MANAGED))
    assert told["hint"].endswith("hiveden-backup config unset jobs.app.schedule")
    assert warnings(bed, "other") == []
    assert f"WARN  app: configuration: {told['message']}" in bed.run("check").out

    done = bed.run("config", "unset", "jobs.app.schedule").succeeded()
    assert done.out.splitlines()[0] == "Unset jobs.app.schedule. In effect now: *-*-* 05:00"
    assert "schedule apply" in done.out
    assert warnings(bed) == []
    assert bed.run("config", "get", "retention.keep_last", "--json").json == 5
    assert "schedule" not in (bed.config.parent / MANAGED).read_text().partition("\n\n")[2]


def test_the_setting_of_all_jobs_and_one_file_of_a_person_over_another(bed: Site) -> None:
    (bed.config.parent / "config.d").mkdir()
    (bed.config.parent / "config.d/50-own.toml").write_text('[retention]\nkeep_last = 3\n[jobs.app]\njitter = "1m"\n')
    bed.configure({"app": {"paths": [str(bed.data)], "jitter": "2m"}}, retention={"keep_last": 7})
    own = {each["job"]: each for each in warnings(bed)}
    assert set(own) == {"", "app"}
    assert all(word in own[""]["message"] for word in ("retention.keep_last", "config.toml", "config.d/50-own.toml"))
    assert "unset" not in own[""]["hint"]
    assert "\nWARN  configuration: retention.keep_last" in f"\n{bed.run('check').out}"
    bed.run("config", "set", "retention.keep_last", "9").succeeded()
    assert {each["message"] for each in warnings(bed) if not each["job"]} == {
        f"retention.keep_last in config.toml has no effect: {MANAGED} overrides it",
        f"retention.keep_last in config.d/50-own.toml has no effect: {MANAGED} overrides it",
    }


def test_a_schedule_that_was_taken_away_is_in_status(bed: Site) -> None:
    bed.run("run", "app").succeeded()
    assert bed.run("status", "--json").json[0]["attention"] == []
    managed.merge(bed.config, {"jobs": {"app": {"schedule": []}}})  # as `schedule unset` and the API do
    done = bed.run("status", "--json")
    (reason,) = done.json[0]["attention"]
    assert (done.code, done.json[0]["state"]) == (1, "attention")
    assert all(word in reason for word in ("config.toml", MANAGED, "hiveden-backup config unset jobs.app.schedule"))
    bed.run("config", "unset", "jobs.app.schedule").succeeded()
    assert bed.run("status", "--json").json[0]["attention"] == []
    bed.change(schedule=[])
    assert bed.run("status", "--json").json[0]["attention"] == [], "a person's own"


def test_what_cannot_be_unset(bed: Site) -> None:
    bed.run("config", "unset", "jobs.app.schedule").failed(66, "jobs.app.schedule is not in", MANAGED)
    bed.run("config", "set", "jobs.new.paths", f'["{bed.data}"]').succeeded()
    bed.run("config", "set", "jobs.new.jitter", "1m").succeeded()
    before = (bed.config.parent / MANAGED).read_bytes()
    bed.run("config", "unset", "jobs.new.paths").failed(78, "jobs.new")
    bed.run("config", "unset", "jobs.new.paths.deeper").failed(66, "is not in")
    bed.run("config", "unset", "a..b").failed(2, "is no key")
    assert (bed.config.parent / MANAGED).read_bytes() == before
    assert bed.run("config", "unset", "jobs.new").succeeded().out.startswith("Unset jobs.new. In effect now: nothing")
    assert "new" not in bed.run("config", "show", "--json").json["jobs"]

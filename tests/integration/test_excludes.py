"""What `exclude` leaves out, and what is said of a pattern that leaves out nothing, or everything."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dockerd import Engine
from tests.support.forge import forged
from tests.support.job import Site, counting, site
from tests.support.validation import check, refused, said

COMBINING = "Cafe\u0301"


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    """A job over a tree with a few names to be left out."""
    with site(tmp_path) as made:
        (made.data / "app/Cache").mkdir(parents=True)
        for name in ("file", "x.tmp", "app/Cache/y", COMBINING):
            (made.data / name).write_text("content")
        made.configure({"app": {"paths": [str(made.data)]}})
        yield made.init()


def hints(bed: Site) -> dict[str, str]:
    """The hint of each pattern that matches nothing."""
    rows = [row for row in check(bed) if row["name"] == "exclude"]
    assert {row["status"] for row in rows} <= {"WARN"}
    return {row["message"].split('"')[1]: row["hint"] for row in rows}


def test_patterns_that_match_say_nothing(bed: Site) -> None:
    bed.change(exclude=["*.tmp", "**/Cache", str(bed.data / "x.tmp"), str(bed.data / "app/Cache/y")])
    assert said(bed, "WARN") == []
    bed.run("run", "app").succeeded()
    assert bed.manifest()["warnings"] == []


def test_one_that_matches_nothing_is_told_by_check_run_and_backup(bed: Site) -> None:
    bed.change(exclude=["*.tmp", "nothing"])
    message = 'The exclude pattern "nothing" matches nothing'
    assert said(bed, "WARN") == [message]
    assert message in bed.run("run", "app").succeeded().err
    assert bed.manifest()["warnings"] == [message]
    assert bed.record()["warnings"] == [message]
    bed.run("run", "app").succeeded()
    assert bed.manifest()["warnings"] == [message]


def test_what_it_was_meant_for_is_found(bed: Site) -> None:
    outside = bed.path / "outside"
    outside.mkdir()
    (outside / "thumbs").mkdir()
    (bed.data / "link").symlink_to(outside)
    (bed.path / "alias").symlink_to(bed.data)
    wanted = {
        "**/cache": f'There is "{bed.data}/app/Cache": capital and small letters are not the same here',
        str(bed.data / "APP"): f'There is "{bed.data}/app": capital and small letters are not the same here',
        "Caf\u00e9": "in TOML it is " + f'"{bed.data}/Cafe\\u0301"',
        str(bed.data / "link/thumbs"): "what lies behind a symbolic link is not archived",
        str(bed.path / "alias/file"): f'write "{bed.data}/file"',
        "/app/cache": f"It is below none of the job's paths ({bed.data})",
        "*.log, *.bak": "Each pattern is a string of its own",
        "nothing": "Remove it, unless such a path may come",
    }
    bed.change(exclude=list(wanted))
    found = hints(bed)
    assert found.keys() == wanted.keys()
    assert [(pattern, found[pattern]) for pattern, hint in wanted.items() if hint not in found[pattern]] == []


def test_a_path_inside_of_a_container_is_told_as_the_machines(bed: Site, engine: Engine) -> None:
    bed.docker = engine.url
    app = counting(engine, bed.data / "app")
    bed.configure({"app": {"paths": [str(bed.data)], "containers": [app.name], "exclude": ["/data/old/*"]}})
    expected = f'If it is meant as the container {app.name} sees it, write "{bed.data}/app/old/*"'
    assert hints(bed) == {"/data/old/*": expected}


@pytest.mark.parametrize("patterns", [["file", "*.tmp", "app", "Caf*"], ["{data}/*"], ["[!-]*"]])
def test_nothing_is_left_to_back_up(bed: Site, patterns: list[str]) -> None:
    """That would be an empty backup; the earlier ones stay."""
    bed.run("run", "app").succeeded()
    bed.change(exclude=[pattern.format(data=bed.data) for pattern in patterns])
    refused(bed, 78, f"The exclude patterns leave nothing of {bed.data}")


def test_nothing_is_left_of_one_path_among_several(bed: Site) -> None:
    (bed.path / "other").mkdir()
    (bed.path / "other/file").touch()
    bed.change(paths=[str(bed.data), str(bed.path / "other")], exclude=[f"{bed.path}/other/*"])
    assert said(bed, "WARN") == [f"The exclude patterns leave nothing of {bed.path}/other"]
    bed.run("run", "app").succeeded()


def test_a_pattern_covers_a_path_behind_a_link(bed: Site) -> None:
    (bed.path / "alias").symlink_to(bed.data)
    bed.change(paths=[str(bed.path / "alias")], exclude=[f"{bed.data}"])
    refused(bed, 78, f'The exclude pattern "{bed.data}" excludes all of {bed.path}/alias')


def test_one_that_cannot_mean_anything_is_an_error_of_the_configuration(bed: Site) -> None:
    bed.change(exclude=["./x", "~/x"], schedule="61 * * * *")
    for command in (["check"], ["run", "app"]):
        done = bed.run(*command)
        done.failed(78, "The configuration has 3 problems", "config.toml: jobs.app.exclude", "jobs.app.schedule")
    bed.change(exclude=["*.tmp"], schedule=[])
    bed.run("run", "app").succeeded()


def test_an_older_backup_with_such_a_pattern_is_restored_in_place(bed: Site) -> None:
    """It was no error then, and had no effect: what the other patterns left out is carried over all the same."""
    bed.change(exclude=["*.tmp"])
    bed.run("run", "app").succeeded()
    with forged(bed.job() / bed.ids()[0]) as backup:
        backup.manifest["job_config"]["exclude"].append("./x")
    bed.change(exclude=[])
    (bed.data / "file").write_text("changed")
    bed.run("restore", "app/latest", "--in-place", "--yes").succeeded()
    assert (bed.data / "file").read_text() == "content"
    assert (bed.data / "x.tmp").read_text() == "content"

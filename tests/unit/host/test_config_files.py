"""The configuration's files: who has the last word, whose fault a problem is, and that only one of them is written."""

import multiprocessing
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from hiveden_backup.core.config.values import Config, Retention
from hiveden_backup.core.errors import ConfigError, NotFoundError, UsageError
from hiveden_backup.host import config_files
from hiveden_backup.jobs.setup import managed as configure

MAIN = """
directory = "/srv/backups"

[retention]
keep_last = 3

[jobs.immich]
schedule = "daily"
paths = ["/srv/immich", "/srv/photos"]

[jobs.immich.retention]
keep_daily = 7
"""

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of the configuration by its name beneath the test's directory."""

    def writer(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return writer


@pytest.fixture
def main(write: Write) -> Path:
    return write("config.toml", MAIN)


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config_files.load(path)
    return [str(problem) for problem in caught.value.problems]


def managed(path: Path) -> dict[str, object]:
    return tomllib.loads(config_files.managed_file(path).read_text())


def everything_in(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()} | {
        str(path): b"a directory" for path in directory.rglob("*") if path.is_dir()
    }


# ---- reading -------------------------------------------------------------------------------------------------------


def test_without_drop_ins_the_file_is_the_configuration(main: Path) -> None:
    config = config_files.load(main)
    assert config.directory == "/srv/backups"
    assert config.jobs["immich"].paths == ("/srv/immich", "/srv/photos")


def test_tables_merge_deeply_and_arrays_are_replaced(main: Path, write: Write) -> None:
    write("config.d/10-a.toml", '[jobs.immich]\npaths = ["/srv/other"]\nretention = { keep_weekly = 4 }')
    write("config.d/20-b.toml", '[jobs.wiki]\nvolumes = ["wiki"]')
    jobs = config_files.load(main).jobs
    assert jobs["immich"].paths == ("/srv/other",)
    assert jobs["immich"].schedule == ("daily",)
    assert jobs["immich"].retention == Retention(keep_daily=7, keep_weekly=4)
    assert jobs["wiki"].retention == Retention(keep_last=3)


def test_drop_ins_come_in_name_order_and_the_managed_one_last(main: Path, write: Write) -> None:
    for number, name in enumerate(["99-zz.toml", "90-managed.toml", "10-a.toml", "zz.toml"]):
        write(f"config.d/{name}", f"retention.keep_last = {number}\nretention.keep_daily = {number}")
    write("config.d/zzz.toml", "retention.keep_daily = 50")
    assert config_files.load(main).retention.keep_last == 1
    config_files.managed_file(main).write_text("")
    assert config_files.load(main).retention == Retention(keep_last=3, keep_daily=50)


def test_hidden_files_and_other_names_are_no_drop_ins(main: Path, write: Write) -> None:
    for name in (".#10-a.toml", ".90-managed.toml.1.tmp", "10-a.toml~", "10-a.toml.bak", "README"):
        write(f"config.d/{name}", "nonsense")
    assert config_files.load(main).retention.keep_last == 3


def test_a_value_may_give_way_to_a_table_and_back(main: Path, write: Write) -> None:
    write("config.d/10-a.toml", "retention = 3")
    write("config.d/20-b.toml", "retention = { keep_last = 8 }")
    assert config_files.load(main).retention == Retention(keep_last=8)


def test_a_problem_names_the_file_that_it_came_from(main: Path, write: Write) -> None:
    main.write_text(MAIN.replace("schedule", "shedule"))
    write("config.d/10-a.toml", '[jobs.immich]\nspool = 1\n[jobs.wiki]\nvolumes = ["v", "v"]')
    write("config.d/20-b.toml", 'docker = "x"\n[[jobs.wiki.postgres]]\ncontainer = "a"\ndatabase = "y"\n[jobs.empty]')
    write("config.d/90-managed.toml", "[jobs.immich]\njitter = 'x'\n[retention]\nkeep_last = 'y'")
    assert sorted(": ".join(text.split(": ")[:2]) for text in problems(main)) == [
        "config.d/10-a.toml: jobs.immich.spool",
        "config.d/10-a.toml: jobs.wiki.volumes",
        "config.d/20-b.toml: docker",
        "config.d/20-b.toml: jobs.empty",
        "config.d/20-b.toml: jobs.wiki.postgres[0].database",
        "config.d/90-managed.toml: jobs.immich.jitter",
        "config.d/90-managed.toml: retention.keep_last",
        "config.toml: jobs.immich.shedule",
    ]


def test_a_missing_key_is_the_main_files_fault(main: Path, write: Write) -> None:
    main.write_text("")
    write("config.d/10-a.toml", "[retention]")
    assert problems(main) == [
        'config.toml: directory: is missing. Name the backup directory: directory = "/srv/backups".'
    ]


def test_a_misspelt_key_reads_as_a_person_would_say_it(main: Path) -> None:
    main.write_text(MAIN.replace("schedule", "shedule"))
    assert problems(main) == ['config.toml: jobs.immich.shedule: unknown key. Did you mean "schedule"?']


def test_without_a_file_init_is_the_hint(tmp_path: Path) -> None:
    for path in (tmp_path / "config.toml", tmp_path / "none" / "config.toml"):
        expected = f"{path}: the file does not exist. Create one: hiveden-backup init --directory DIR"
        assert problems(path) == [expected]
        with pytest.raises(ConfigError, match="init --directory"):
            configure.set_value(path, "directory", "/srv/backups")
    assert not list(tmp_path.iterdir())


def test_drop_ins_that_are_no_directory_are_a_problem(main: Path) -> None:
    folder = main.parent / "config.d"
    folder.write_text("")
    assert problems(main) == [f"{folder}: it is not a directory."]
    assert problems(main / "config.toml") == [
        f"{main}/config.toml: the file does not exist. Create one: hiveden-backup init --directory DIR"
    ]


def test_every_file_that_cannot_be_parsed_is_told_with_the_line(main: Path, write: Write) -> None:
    main.write_text('directory = "/srv/backups"\n\ndocker = oops\n')
    write("config.d/10-a.toml", "[jobs\n")
    write("config.d/20-b.toml", "a = " + "9" * 5000)
    write("config.d/30-c.toml", "a = " + "[" * 5000)
    (main.parent / "config.d/40-d.toml").write_bytes(b'a = 1\nb = "\xff"\n')
    (main.parent / "config.d/50-e.toml").mkdir()
    os.mkfifo(main.parent / "config.d/60-f.toml")
    (main.parent / "config.d/70-g.toml").symlink_to("nowhere")
    found = problems(main)
    folder = main.parent / "config.d"
    assert found[0] == (
        "config.toml: the file is not valid TOML: Invalid value (at line 3, column 10). "
        'Text needs quotation marks: key = "text".'
    )
    assert found[1].startswith("config.d/10-a.toml: the file is not valid TOML: Expected ']'")
    assert "(at line 1, column 6)" in found[1]
    assert found[2].startswith("config.d/20-b.toml: the file is not valid TOML: Exceeds the limit")
    assert found[3] == "config.d/30-c.toml: the file is nested too deeply."
    assert found[4] == "config.d/40-d.toml: the file is not UTF-8 (at line 2)."
    assert found[5] == f"{folder}/50-e.toml: it is a directory."
    assert found[6] == f"{folder}/60-f.toml: it is no regular file."
    assert found[7] == f"{folder}/70-g.toml: the file does not exist."


def test_a_table_nested_deeper_than_python_likes_is_a_problem_like_others(main: Path, write: Write) -> None:
    write("config.d/10-a.toml", ".".join(["a"] * 3000) + " = 1")
    assert [text.partition(".")[2].split(" ")[0] for text in problems(main)] == ["d/10-a.toml:"]


def test_a_byte_order_mark_is_no_mistake(main: Path) -> None:
    main.write_text("\ufeff" + MAIN)
    assert config_files.load(main).directory == "/srv/backups"


# ---- show and get --------------------------------------------------------------------------------------------------


def test_show_has_the_defaults_and_reads_back(main: Path) -> None:
    shown = configure.show(main)
    assert shown["api"] == {"idle": "1min", "allow_loopback": False}
    assert shown["retention"] == {"keep_last": 3}
    (main.parent / "other.toml").write_text(configure.text(shown))
    assert config_files.load(main.parent / "other.toml") == config_files.load(main)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("directory", "/srv/backups", "/srv/backups\n"),
        ("retention", {"keep_last": 3}, "keep_last = 3\n"),
        ("jobs.immich.stop_timeout", "30s", "30s\n"),
        ("jobs.immich.catch_up", True, "true\n"),
        ("jobs.immich.compact_ratio", 0.5, "0.5\n"),
        ("jobs . immich . compression_level", 3, "3\n"),
        ('jobs."immich"."retention".keep_daily', 7, "7\n"),
        ("jobs.immich.containers", [], "[]\n"),
        ("jobs.immich.paths", ["/srv/immich", "/srv/photos"], '[\n    "/srv/immich",\n    "/srv/photos",\n]\n'),
    ],
)
def test_get_gives_the_effective_value(main: Path, key: str, value: object, text: str) -> None:
    assert configure.get(main, key) == value
    assert configure.text(configure.get(main, key)) == text


def test_an_array_of_tables_is_readable_too(main: Path, write: Write) -> None:
    write("config.d/10-a.toml", '[[jobs.immich.postgres]]\ncontainer = "a"\n[[jobs.immich.postgres]]\ndsn = "host=b"')
    assert configure.text(configure.get(main, "jobs.immich.postgres")) == (
        'container = "a"\ndatabases = []\nglobals = true\n\ndsn = "host=b"\ndatabases = []\nglobals = true\n'
    )


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("jobs.imich", "There is no jobs.imich. jobs has no such key. Did you mean jobs.immich?"),
        ("jobs.immich.shedule", "There is no jobs.immich.shedule. jobs.immich has no such key. Did you mean"),
        ("xyz", "There is no xyz. the configuration has no such key. See `hiveden-backup config show`."),
        ("directory.x", "There is no directory.x. directory is empty or no table."),
        ("docker", "docker is not set. It has no fixed default."),
        ("jobs.immich.max_age", "jobs.immich.max_age is not set."),
    ],
)
def test_get_of_what_is_not_there_is_not_found(main: Path, key: str, message: str) -> None:
    with pytest.raises(NotFoundError, match=f"^{re.escape(message)}") as caught:
        configure.get(main, key)
    assert caught.value.exit_code == 66


@pytest.mark.parametrize("key", ["", ".", "a.", "a..b", "a b", 'a."b', "a=1", "a\nb"])
def test_what_is_no_key_is_a_usage_error(main: Path, key: str) -> None:
    with pytest.raises(UsageError, match="is no key"):
        configure.get(main, key)
    with pytest.raises(UsageError, match="is no key"):
        configure.set_value(main, key, "1")


# ---- set -----------------------------------------------------------------------------------------------------------


def test_set_writes_the_managed_drop_in_alone(main: Path) -> None:
    before = main.read_bytes()
    config = configure.set_value(main, "jobs.immich.schedule", "*-*-* 02:30")
    assert main.read_bytes() == before
    assert managed(main) == {"jobs": {"immich": {"schedule": "*-*-* 02:30"}}}
    assert config == config_files.load(main)
    assert config.jobs["immich"].schedule == ("*-*-* 02:30",)
    target = config_files.managed_file(main)
    assert [entry.name for entry in target.parent.iterdir()] == ["90-managed.toml"]
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.parent.stat().st_mode & 0o777 == 0o700
    assert target.read_text().startswith("# Written by hiveden-backup")


def test_what_was_set_before_stays(main: Path) -> None:
    configure.set_value(main, "jobs.immich.spool", "true")
    configure.set_value(main, "jobs.immich.compression_level", "12")
    configure.set_value(main, "jobs.immich.compression_level", "13")
    configure.set_value(main, "docker", "unix:///run/docker.sock")
    assert managed(main) == {
        "jobs": {"immich": {"spool": True, "compression_level": 13}},
        "docker": "unix:///run/docker.sock",
    }


@pytest.mark.parametrize(
    ("key", "text", "get"),
    [
        ("jobs.immich.jitter", "5m", lambda config: config.jobs["immich"].jitter == 300.0),
        ("jobs.immich.jitter", '"5m"', lambda config: config.jobs["immich"].jitter == 300.0),
        ("jobs.immich.jitter", "90", lambda config: config.jobs["immich"].jitter == 90.0),
        ("jobs.immich.schedule", "[]", lambda config: config.jobs["immich"].schedule == ()),
        ("jobs.immich.schedule", "30 2 * * *", lambda config: config.jobs["immich"].schedule == ("30 2 * * *",)),
        ("jobs.immich.schedule", '["daily", "weekly"]', lambda config: len(config.jobs["immich"].schedule) == 2),
        ("jobs.immich.containers", '["12"]', lambda config: config.jobs["immich"].containers == ("12",)),
        ("jobs.new", '{ volumes = ["v"] }', lambda config: config.jobs["new"].volumes == ("v",)),
        ("jobs.immich.postgres", '[{ container = "a" }]', lambda config: len(config.jobs["immich"].postgres) == 1),
    ],
)
def test_a_value_is_toml_or_else_a_string(main: Path, key: str, text: str, get: Callable[[Config], bool]) -> None:
    assert get(configure.set_value(main, key, text))
    assert get(config_files.load(main))


def test_set_replaces_a_table_in_the_managed_drop_in(main: Path) -> None:
    configure.set_value(main, "jobs.immich.retention", "{ keep_last = 1 }")
    configure.set_value(main, "jobs.immich.retention", "{ keep_weekly = 2 }")
    assert config_files.load(main).jobs["immich"].retention == Retention(keep_daily=7, keep_weekly=2)


@pytest.mark.parametrize(
    ("key", "text", "problem"),
    [
        ("jobs.immich.shedule", "daily", 'jobs.immich.shedule: unknown key. Did you mean "schedule"?'),
        ("jobs.immich.max_archives", "50", "jobs.immich.max_archives: there is no such key any more: archives have a"),
        ("jobs.immich.spool", "1", "jobs.immich.spool: must be true or false, not a number."),
        ("jobs.typo.schedule", "daily", "jobs.typo: the job has nothing to back up."),
        ("directory", "backups", 'directory: "backups" is not an absolute path.'),
        ("directory", "", "directory: is empty."),
        ("docker", "unix:///x\ndirectory = 5", "docker: contains a control character."),
        ("jobs.immich.schedule", "1\ndirectory = 5", "jobs.immich.schedule: contains a control character."),
        ("docker", "\udcff", "docker: is not UTF-8."),
        ("jobs.immich.jitter", "[" * 5000, "jobs.immich.jitter:"),
        ("jobs.immich.paths.x", "1", "jobs.immich.paths: must be a list of strings, not a table."),
        ("jobs.immich.postgres", '[{ dsn = "host=h password=hunter2" }]', "jobs.immich.postgres[0].dsn: contains"),
    ],
)
def test_what_would_not_be_valid_is_refused_and_nothing_is_written(
    main: Path, key: str, text: str, problem: str
) -> None:
    for existing in ("", "9"):
        if existing:
            configure.set_value(main, "jobs.immich.compression_level", existing)
        before = everything_in(main.parent)
        with pytest.raises(ConfigError) as caught:
            configure.set_value(main, key, text)
        assert str(caught.value.problems[0]).startswith(f"config.d/90-managed.toml: {problem}")
        assert everything_in(main.parent) == before


def test_a_key_that_is_gone_does_not_count_in_the_managed_drop_in_and_goes_with_the_next_change(
    main: Path, write: Write
) -> None:
    """A version that knew it wrote it there: an upgrade must not stop all runs for that."""
    write("config.d/90-managed.toml", "[jobs.immich]\nspool = true\nmax_archives = 60")
    assert config_files.load(main).jobs["immich"].spool
    assert list(config_files.outlived(main)) == [("jobs", "immich", "max_archives")]
    (told,) = configure.hidden(main, ["immich"])
    assert told.hint.endswith("config unset jobs.immich.max_archives")
    assert configure.hidden(main, ["other"]) == []
    with pytest.raises(ConfigError, match="no such key any more"):
        configure.set_value(main, "jobs.immich.max_archives", "70")
    assert configure.unset(main, "jobs.immich.max_archives") == (("jobs", "immich", "max_archives"), None)
    assert managed(main) == {"jobs": {"immich": {"spool": True}}}
    write("config.d/90-managed.toml", "[jobs.immich]\nmax_archives = 60")
    configure.set_value(main, "jobs.immich.jitter", "5m")
    assert managed(main) == {"jobs": {"immich": {"jitter": "5m"}}}


@pytest.mark.parametrize("file", ["config.toml", "config.d/50-own.toml"])
def test_a_person_is_told_of_a_key_that_is_gone(main: Path, write: Write, file: str) -> None:
    text = main.read_text() if file == "config.toml" else ""
    write(file, f"{text}\n[jobs.another]\npaths = ['/srv']\nmax_archives = 60")
    with pytest.raises(ConfigError, match="Take the line out") as caught:
        config_files.load(main)
    assert caught.value.exit_code == 78
    assert [(each.file, each.key) for each in caught.value.problems] == [(file, "jobs.another.max_archives")]


def test_a_broken_managed_drop_in_is_not_overwritten(main: Path, write: Write) -> None:
    write("config.d/90-managed.toml", "oops")
    with pytest.raises(ConfigError, match="90-managed"):
        configure.set_value(main, "jobs.immich.spool", "true")
    assert config_files.managed_file(main).read_text() == "oops"


def test_merge_lays_a_nested_table_over_the_managed_drop_in(main: Path) -> None:
    configure.merge(main, {"jobs": {"immich": {"retention": {"keep_last": 1}, "paths": ["/srv/x"]}}})
    config = configure.merge(main, {"jobs": {"immich": {"schedule": [], "retention": {"keep_weekly": 2}}}})
    assert managed(main) == {
        "jobs": {
            "immich": {"retention": {"keep_last": 1, "keep_weekly": 2}, "paths": ["/srv/x"], "schedule": []},
        }
    }
    assert config.jobs["immich"].schedule == ()
    with pytest.raises(ConfigError, match="must be a string or a list of strings, not null"):
        configure.merge(main, {"jobs": {"immich": {"schedule": None}}})


def _set_ten(path: Path, first: int) -> None:
    for number in range(first, first + 10):
        configure.set_value(path, f"jobs.job{number}", '{ volumes = ["v"] }')


def test_processes_that_set_at_once_lose_nothing(main: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_set_ten, args=(main, first)) for first in (0, 10, 20)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert config_files.load(main).jobs.keys() == {"immich", *(f"job{number}" for number in range(30))}

"""Any table at all is a configuration or a ConfigError, and what was read is written so that it reads the same."""

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, date, datetime, time

import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from hiveden_backup.core.config.parse import effective_table, job_table, parse
from hiveden_backup.core.config.patterns import exclude_pattern
from hiveden_backup.core.config.rules import plain
from hiveden_backup.core.config.values import Api, Config, Job, PostgresSource, Retention
from hiveden_backup.core.errors import ConfigError, Problem

Table = Mapping[str, object]

TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["/srv", "/srv/a", "/", "5m", "1h 30min", "[a-", "host=a", "postgresql://u:p@[", "unix:///x"]),
)
SCALARS = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.just(date(2026, 1, 1)),
    st.just(time(2, 30)),
    st.just(datetime(2026, 1, 1, tzinfo=UTC)),
)
VALUES = st.one_of(
    SCALARS, st.lists(TEXTS, max_size=3), st.lists(SCALARS, max_size=2), st.dictionaries(TEXTS, SCALARS, max_size=2)
)


def tables(shape: type[Config | Job | PostgresSource | Retention | Api]) -> st.SearchStrategy[dict[str, object]]:
    """Tables with any values at the keys that the program knows there, and now and then another key."""
    known = {field.name: VALUES for field in fields(shape)}
    return st.builds(
        lambda table, other: {**table, **other},
        st.fixed_dictionaries({}, optional=known),
        st.one_of(st.just({}), st.dictionaries(TEXTS, VALUES, max_size=1)),
    )


def found_in(table: Table) -> tuple[Problem, ...]:
    """The problems of a table; none when it is a configuration."""
    try:
        parse(table, lambda _: "file")
    except ConfigError as error:
        return error.problems
    return ()


@given(tables(Config), tables(Job), tables(PostgresSource), tables(Retention), tables(Api))
def test_any_table_is_a_configuration_or_a_config_error(
    top: Table, job: Table, source: Table, retention: Table, api: Table
) -> None:
    whole = {
        "directory": "/b",
        "retention": retention,
        "api": api,
        "jobs": {"x": {**job, "postgres": [source], "retention": retention}, "y": job},
    }
    for table in (top, whole, {**whole, **top}):
        for problem in found_in(table):
            assert problem.file == "file"
            assert problem.key
            assert str(problem).isprintable()


SPANS = st.one_of(
    st.integers(1, 10**9), st.floats(1e-6, 1e9), st.sampled_from(["5m", "1h 30min", "7d", "1.5w", "300ms20s 5day"])
)
COUNTS = st.integers(0, 1000)
DOCKER_NAMES = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", fullmatch=True)
SCHEDULE = st.sampled_from(["daily", "*-*-* 02:30", "30 2 * * *", "@weekly"])
PLAIN = st.text(min_size=1, max_size=15).filter(lambda text: plain(text) is None)
RELATIVE = PLAIN.filter(lambda text: not text.startswith("/"))
EXCLUDES = st.one_of(RELATIVE, RELATIVE.map("/elsewhere/{}".format)).filter(lambda text: exclude_pattern(text) is None)
RETENTIONS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(
            ("keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly"), COUNTS
        ),
        "keep_within": SPANS,
    },
)
SOURCES = st.fixed_dictionaries(
    {"container": DOCKER_NAMES},
    optional={
        "databases": st.lists(PLAIN, max_size=3, unique=True),
        "user": PLAIN,
        "globals": st.booleans(),
    },
)
HOST_SOURCES = st.fixed_dictionaries(
    {"dsn": st.from_regex(r"host=[a-z./]{1,9}( port=[0-9]{1,4})?", fullmatch=True)},
    optional={"os_user": PLAIN, "passfile": st.just("/etc/pgpass"), "databases": st.just(["x"])},
)
JOBS = st.fixed_dictionaries(
    {"volumes": st.lists(DOCKER_NAMES, min_size=1, max_size=3, unique=True)},
    optional={
        "schedule": st.one_of(SCHEDULE, st.lists(SCHEDULE, max_size=3)),
        "catch_up": st.booleans(),
        "jitter": st.one_of(SPANS, st.just("0")),
        "paths": st.lists(st.from_regex(r"/srv-[a-z]{3}", fullmatch=True), max_size=3, unique=True),
        "exclude": st.lists(EXCLUDES, max_size=3),
        "containers": st.lists(DOCKER_NAMES, max_size=3, unique=True),
        "postgres": st.lists(
            st.one_of(SOURCES, HOST_SOURCES),
            max_size=3,
            unique_by=lambda source: str(source.get("container", source.get("dsn"))).split("host=")[-1].split(" ")[0],
        ),
        "retention": RETENTIONS,
        **dict.fromkeys(("stop_timeout", "start_timeout", "max_downtime", "timeout", "max_age", "undo_keep"), SPANS),
        **dict.fromkeys(("lock_wait", "dump_lock_timeout"), SPANS),
        "compact_ratio": st.floats(0, 1),
        "compression_level": st.integers(1, 19),
        "one_file_system": st.booleans(),
        "spool": st.booleans(),
    },
)


def again(job: Job) -> Job:
    """The job read from what `job_table` wrote, by way of TOML."""
    table = {"directory": "/an/unlikely/place", "jobs": {job.name: job_table(job)}}
    return parse(tomllib.loads(tomli_w.dumps(table)), lambda _: "").jobs[job.name]


@given(JOBS, RETENTIONS)
def test_a_jobs_table_reads_back_to_the_same_job(job: Table, retention: Table) -> None:
    config = parse({"directory": "/b", "retention": retention, "jobs": {"x": job}}, lambda _: "")
    assert again(config.jobs["x"]) == config.jobs["x"]
    assert parse(tomllib.loads(tomli_w.dumps(effective_table(config))), lambda _: "") == config

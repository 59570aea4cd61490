"""Every mistake in a configuration is told with its file, its key and a hint, and all of them at once."""

import tomllib

import pytest

from hiveden_backup.core.config.parse import parse
from hiveden_backup.core.errors import ConfigError


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(tomllib.loads(text), lambda _: "config.toml")
    return [str(problem) for problem in caught.value.problems]


def in_job(text: str) -> str:
    return f'directory = "/srv/backups"\n[jobs.immich]\n{text}\n'


def in_source(text: str) -> str:
    return in_job(f"[[jobs.immich.postgres]]\n{text}")


TOP = 'directory = "/srv/backups"\n'
SPAN_HINT = 'Write it as systemd does: "90s", "10min", "1h 30min", "7d".'

WRONG = [
    # unknown keys
    (in_job('volumes=["v"]\nshedule = "daily"'), 'jobs.immich.shedule: unknown key. Did you mean "schedule"?'),
    (TOP + "[job.immich]", 'job: unknown key. Did you mean "jobs"?'),
    (TOP + "[retention]\nkeep_dayly = 1", 'retention.keep_dayly: unknown key. Did you mean "keep_daily"?'),
    (TOP + "[api]\nxyz = 1", "api.xyz: unknown key. Known here: allow_loopback, idle, token_file."),
    (
        TOP + "keep_last = 3",
        "keep_last: unknown key. It belongs in [retention], [jobs.NAME.retention] or [offsite.NAME.retention].",
    ),
    (
        in_source('container="a"\nspool = true'),
        "jobs.immich.postgres[0].spool: unknown key. It belongs in [jobs.NAME], above its other tables.",
    ),
    (
        in_source('container="a"\npassword = "secret"'),
        "jobs.immich.postgres[0].password: unknown key. Put the password into a file and name it in passfile.",
    ),
    (
        in_source('container="a"\n[[jobs.immich.postgres]]\ndsn="host=b"\ndatabase="x"'),
        'jobs.immich.postgres[1].database: unknown key. Did you mean "databases"?',
    ),
    (TOP + '"a\\nb" = 1', '"a\\u000Ab": unknown key. Known here: api, directory, docker, jobs, offsite, retention.'),
    # the directory and Docker
    ("", 'directory: is missing. Name the backup directory: directory = "/srv/backups".'),
    ('directory = "backups"', 'directory: "backups" is not an absolute path. Begin it with /.'),
    ('directory = "/"', 'directory: "/" cannot be the backup directory. Name a directory of its own.'),
    ("directory = 1", "directory: must be a string, not a number."),
    ('directory = ""', "directory: is empty."),
    ('directory = "/srv/../b/"', 'directory: "/srv/../b/" is not a normalized path. Write "/b".'),
    ('directory = "//srv"', 'directory: "//srv" is not a normalized path. Write "/srv".'),
    (
        TOP + 'docker = "/run/docker.sock"',
        'docker: "/run/docker.sock" is not an address of Docker. Begin it with unix://, tcp://, https:// or ssh://.',
    ),
    (TOP + 'docker = "unix://run"', 'docker: "unix://run" is incomplete. An example: "unix:///run/docker.sock".'),
    (TOP + 'docker = "tcp://"', 'docker: "tcp://" is incomplete. An example: "unix:///run/docker.sock".'),
    (TOP + 'docker = "tcp://u:hunter2@h"', "docker: contains a password. Use a socket, or ssh:// with a key."),
    # tables and names
    (TOP + "jobs = 3", "jobs: must be a table, not a number. Write [jobs]."),
    (TOP + "[jobs]\nimmich = 3", "jobs.immich: must be a table, not a number. Write [jobs.immich]."),
    (TOP + "retention = []", "retention: must be a table, not an array. Write [retention]."),
    (
        TOP + '[jobs.Immich]\nvolumes=["v"]',
        'jobs.Immich: not a name for a job. Use up to 48 of a-z, 0-9, "-" and "_", a letter or digit first.',
    ),
    (
        TOP + '[jobs."a\\n"]\nvolumes=["v"]',
        'jobs."a\\u000A": not a name for a job. Use up to 48 of a-z, 0-9, "-" and "_", a letter or digit first.',
    ),
    (
        in_job('schedule = "daily"'),
        "jobs.immich: the job has nothing to back up. Give it paths, volumes or a postgres table.",
    ),
    (
        in_job("paths = []\nvolumes = []\npostgres = []"),
        "jobs.immich: the job has nothing to back up. Give it paths, volumes or a postgres table.",
    ),
    # types
    (
        in_job('paths = "/a"'),
        'jobs.immich.paths: must be a list of strings, not a string. Write ["/a"].',
    ),
    (in_job("paths = [1]"), "jobs.immich.paths: each element must be a string, not a number."),
    (in_job("volumes = {}"), "jobs.immich.volumes: must be a list of strings, not a table."),
    (
        in_job('volumes=["v"]\nschedule = 02:30:00'),
        "jobs.immich.schedule: must be a string or a list of strings, not a date or time.",
    ),
    (in_job('volumes=["v"]\nschedule = ""'), "jobs.immich.schedule: is empty."),
    (in_job('volumes=["v"]\nschedule = ["daily", " "]'), "jobs.immich.schedule: is empty."),
    (
        in_job('volumes=["v"]\nschedule = "daily\\nweekly"'),
        "jobs.immich.schedule: contains a control character. Remove it.",
    ),
    (in_job('volumes=["v"]\nspool = 1'), "jobs.immich.spool: must be true or false, not a number."),
    (in_job('volumes=["v"]\nspool = "yes"'), "jobs.immich.spool: must be true or false, not a string."),
    (
        in_job('volumes=["v"]\ncompression_level = true'),
        "jobs.immich.compression_level: must be an integer, not a boolean.",
    ),
    (
        in_job('volumes=["v"]\ncompression_level = 3.0'),
        "jobs.immich.compression_level: must be an integer, not a number.",
    ),
    (
        in_job('volumes=["v"]\nmax_archives = 50'),
        (
            "jobs.immich.max_archives: there is no such key any more: archives have a bounded size now, and small ones "
            "are put together by themselves. Take the line out."
        ),
    ),
    (in_job('volumes=["v"]\ncompression_level = 0'), "jobs.immich.compression_level: is out of range. Use 1 to 19."),
    (in_job('volumes=["v"]\ncompression_level = 20'), "jobs.immich.compression_level: is out of range. Use 1 to 19."),
    (
        in_job('volumes=["v"]\ncompact_ratio = 1.01'),
        "jobs.immich.compact_ratio: is out of range. Use a number from 0 to 1.",
    ),
    (
        in_job('volumes=["v"]\ncompact_ratio = nan'),
        "jobs.immich.compact_ratio: is out of range. Use a number from 0 to 1.",
    ),
    (in_job('volumes=["v"]\ncompact_ratio = true'), "jobs.immich.compact_ratio: must be a number, not a boolean."),
    (TOP + "[retention]\nkeep_last = -1", "retention.keep_last: is out of range. Use 0 or more."),
    (TOP + "[retention]\nkeep_last = false", "retention.keep_last: must be an integer, not a boolean."),
    # durations
    (
        in_job('volumes=["v"]\nstop_timeout = "10 parsecs"'),
        f'jobs.immich.stop_timeout: "10 parsecs" is not a duration: it is no span of time. {SPAN_HINT}',
    ),
    (in_job('volumes=["v"]\ntimeout = "0"'), f"jobs.immich.timeout: must be longer than 0. {SPAN_HINT}"),
    (
        in_job('volumes=["v"]\ntimeout = "infinity"'),
        f"jobs.immich.timeout: must be between 0 and 100 years. {SPAN_HINT}",
    ),
    (in_job('volumes=["v"]\nundo_keep = -5'), f"jobs.immich.undo_keep: must be between 0 and 100 years. {SPAN_HINT}"),
    (in_job('volumes=["v"]\njitter = true'), f"jobs.immich.jitter: must be a duration, not a boolean. {SPAN_HINT}"),
    (in_job('volumes=["v"]\njitter = ""'), "jobs.immich.jitter: is empty."),
    (in_job('volumes=["v"]\nmax_age = nan'), f"jobs.immich.max_age: must be between 0 and 100 years. {SPAN_HINT}"),
    (TOP + "[retention]\nkeep_within = 1e-9", f"retention.keep_within: must be longer than 0. {SPAN_HINT}"),
    (TOP + '[api]\nidle = "0s"', f"api.idle: must be longer than 0. {SPAN_HINT}"),
    # paths
    (in_job('paths = ["srv/a"]'), 'jobs.immich.paths: "srv/a" is not an absolute path. Begin it with /.'),
    (in_job('paths = ["/a/"]'), 'jobs.immich.paths: "/a/" is not a normalized path. Write "/a".'),
    (in_job('paths = ["/a\\u0000"]'), "jobs.immich.paths: contains a control character. Remove it."),
    (in_job('paths = ["/a", "/a"]'), 'jobs.immich.paths: "/a" is listed twice. Remove one.'),
    (in_job('paths = ["/a/b", "/a"]'), 'jobs.immich.paths: "/a/b" is already covered by "/a". Remove "/a/b".'),
    (
        in_job('paths = ["/srv/backups"]'),
        'jobs.immich.paths: "/srv/backups" is the backup directory. Backups are not backed up: remove it.',
    ),
    (
        in_job('paths = ["/srv/backups/x"]'),
        'jobs.immich.paths: "/srv/backups/x" lies inside the backup directory. Backups are not backed up: remove it.',
    ),
    (in_job('volumes=["v"]\nexclude = [""]'), "jobs.immich.exclude: is empty."),
    (in_job('volumes=["v"]\nexclude = ["/"]'), 'jobs.immich.exclude: "/" excludes everything. Remove it.'),
    (in_job('volumes=["v"]\nexclude = ["a\\tb"]'), "jobs.immich.exclude: contains a control character. Remove it."),
    # Docker's names
    (
        in_job('volumes = ["/srv/a"]'),
        'jobs.immich.volumes: "/srv/a" is not the name of a Docker volume. Directories belong in paths.',
    ),
    (
        in_job('volumes = ["-v"]'),
        'jobs.immich.volumes: "-v" cannot be the name of a Docker volume. Look at `docker volume ls`.',
    ),
    (in_job('volumes = ["v", "v"]'), 'jobs.immich.volumes: "v" is listed twice. Remove one.'),
    (
        in_job('volumes=["v"]\ncontainers = ["a b"]'),
        (
            'jobs.immich.containers: "a b" cannot be the name of a Docker container. '
            "Look at `docker ps -a --format '{{.Names}}'`."
        ),
    ),
    (
        in_job('volumes=["v"]\ncontainers = ["a", "b", "a", "a"]'),
        'jobs.immich.containers: "a" is listed twice. Remove one.',
    ),
    # databases
    (
        in_job('postgres = { container = "a" }'),
        "jobs.immich.postgres: must be an array of tables, not a table. Write [[jobs.immich.postgres]].",
    ),
    (in_job('postgres = ["a"]'), "jobs.immich.postgres: each element must be a table, not a string."),
    (
        in_source("globals = true"),
        "jobs.immich.postgres[0]: has neither a container nor a dsn. Give it exactly one of them.",
    ),
    (
        in_source('container="a"\ndsn="host=b"'),
        "jobs.immich.postgres[0]: has both a container and a dsn. Give it exactly one of them.",
    ),
    (
        in_source('container="a"\nos_user="postgres"'),
        "jobs.immich.postgres[0].os_user: only goes with a dsn. Use user for the role to connect as.",
    ),
    (
        in_source('dsn="host=a"\npassfile="pgpass"'),
        'jobs.immich.postgres[0].passfile: "pgpass" is not an absolute path. Begin it with /.',
    ),
    (
        in_source('dsn="host=a passfile=/x"\npassfile="/y"'),
        "jobs.immich.postgres[0].passfile: is in the dsn, too. Give it once.",
    ),
    (
        in_source('dsn="host=a user=x"\nuser="y"'),
        "jobs.immich.postgres[0].user: is in the dsn, too. Give it once.",
    ),
    (
        in_source('container="a"\ndatabases=["x", "x"]'),
        'jobs.immich.postgres[0].databases: "x" is listed twice. Remove one.',
    ),
    (in_source('container="a"\ndatabases=[""]'), "jobs.immich.postgres[0].databases: is empty."),
    (
        in_source(f'container="a"\ndatabases=["{"ä" * 32}"]'),
        f'jobs.immich.postgres[0].databases: "{"ä" * 32}" is longer than the 63 bytes that PostgreSQL keeps of a name.',
    ),
    (
        in_source('container="a"\nuser="a\\u0007"'),
        "jobs.immich.postgres[0].user: contains a control character. Remove it.",
    ),
    (
        in_source('dsn="host=a"\n[[jobs.immich.postgres]]\ndsn="host=a"'),
        ('jobs.immich.postgres: the server "a:5432" is listed twice. List its databases in one entry.'),
    ),
    *(
        (
            in_source(f'dsn = "{dsn}"'),
            (
                f"jobs.immich.postgres[0].dsn: contains a secret ({key}). "
                "Put the password into a file and name it in passfile."
            ),
        )
        for key, dsn in [
            ("password", "host=h password=hunter2"),
            ("password", "postgresql://u:hunter2@h/d"),
            ("password", "postgresql://h/d?password=hunter2"),
            ("sslpassword", "host=h sslpassword=hunter2"),
        ]
    ),
    (
        in_source('container = "host=h password=hunter2"'),
        (
            "jobs.immich.postgres[0].container: the value cannot be the name of a Docker container. "
            "Look at `docker ps -a --format '{{.Names}}'`."
        ),
    ),
    (
        in_job('volumes = ["postgresql://u:hunter2@h"]'),
        "jobs.immich.volumes: the value cannot be the name of a Docker volume. Look at `docker volume ls`.",
    ),
    (TOP + '"" = 1', '"": unknown key. Known here: api, directory, docker, jobs, offsite, retention.'),
    (
        in_source('dsn = "host=h pass word=hunter2"'),
        (
            "jobs.immich.postgres[0].dsn: is not a libpq connection string: it is not made of key=value pairs. "
            'An example: "host=127.0.0.1 user=backup".'
        ),
    ),
]


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_a_mistake_is_told_with_file_key_and_hint(text: str, expected: str) -> None:
    assert problems(text) == [f"config.toml: {expected}"]


def test_all_problems_come_at_once_and_one_job_does_not_hide_another() -> None:
    found = problems("""
        docker = 7
        [jobs.one]
        paths = ["relative", "/a", "/a/b"]
        spool = 1
        [jobs.TWO]
        volumes = ["v", "v"]
        timeout = "soon"
        [[jobs.three.postgres]]
        container = "a"
        dsn = "host=h password=x"
        [[jobs.three.postgres]]
        [api]
        idle = -1
    """)
    keys = [problem.split(": ")[1] for problem in found]
    assert sorted(keys) == (
        [
            "api.idle",
            "directory",
            "docker",
            "jobs.TWO",
            "jobs.TWO.timeout",
            "jobs.TWO.volumes",
            "jobs.one.paths",
            "jobs.one.paths",
            "jobs.one.spool",
            "jobs.three.postgres[0]",
            "jobs.three.postgres[0].dsn",
            "jobs.three.postgres[1]",
        ]
    )


def test_no_problem_ever_quotes_a_password() -> None:
    for text, _ in WRONG:
        assert "hunter2" not in "".join(problems(text))


def test_null_and_text_that_is_no_utf8_are_refused_not_ignored() -> None:
    table = {"directory": None, "docker": "unix:///\udcff", "jobs": {"a": {"volumes": [None]}}}
    with pytest.raises(ConfigError) as caught:
        parse(table, lambda _: "api")
    assert [str(problem) for problem in caught.value.problems] == [
        "api: directory: must be a string, not null.",
        "api: docker: is not UTF-8.",
        "api: jobs.a.volumes: each element must be a string, not null.",
    ]

"""The configuration's values: every key with its default, read from tables and written back to them."""

import tomllib

import pytest
import tomli_w

from hiveden_backup.core.config.parse import complete_table, effective_table, job_table, parse
from hiveden_backup.core.config.values import Api, Config, Job, Offsite, PostgresSource, Retention

SAMPLE = """
directory = "/shares/backups"
docker = "unix:///run/docker.sock"   # default: DOCKER_HOST, else the default socket

[retention]                  # or [jobs.NAME.retention]; also keep_hourly, keep_yearly, keep_within = "48h"
keep_last = 7
keep_daily = 14
keep_weekly = 8
keep_monthly = 12

[jobs.immich]
schedule = "*-*-* 02:30"     # systemd calendar, 5-field cron, or a list of either
catch_up = true              # Persistent=
jitter = "10m"
paths = ["/shares/apps/immich"]
volumes = ["immich_data"]    # Docker named volumes; the manifest maps name to path
exclude = ["**/cache"]
containers = ["immich_server", "immich_microservices"]   # stopped for the cold pass

[[jobs.immich.postgres]]
container = "immich_postgres"          # or: dsn = "host=127.0.0.1 user=backup", passfile = "..."
databases = ["immich"]                 # default: all that allow connections, are no templates and are not ours
"""

GLOBAL = Retention(keep_last=7, keep_daily=14, keep_weekly=8, keep_monthly=12)

EVERY_KEY = """
directory = "/srv/backups"
docker = "ssh://root@nas"

[retention]
keep_last = 1
keep_hourly = 2
keep_daily = 3
keep_weekly = 4
keep_monthly = 5
keep_yearly = 6
keep_within = "48h"

[api]
token_file = "/etc/hiveden-backup/token"
idle = 90
allow_loopback = true

[jobs.all]
schedule = ["daily", "30 2 * * 1-5"]
catch_up = false
jitter = 1.5
paths = ["/srv/a", "/srv/ab"]
volumes = ["v1", "v2"]
exclude = ["*.tmp"]
containers = ["c"]
stop_timeout = "1min"
start_timeout = "2min"
max_downtime = "1h"
timeout = "2d"
compact_ratio = 1
one_file_system = true
spool = true
max_age = "1w"
lock_wait = "0"
undo_keep = "1M"
compression_level = 19
dump_lock_timeout = "5s"
unusual = false
offsite = ["b2"]

[jobs.all.retention]
keep_last = 0

[[jobs.all.postgres]]
container = "pg"
user = "immich"
globals = false

[[jobs.all.postgres]]
dsn = "host=/run/postgresql port=5433"
databases = ["a", "b = c"]
os_user = "postgres"
passfile = "/etc/hiveden-backup/pgpass"

[jobs.none]
volumes = ["v"]
retention = {}
schedule = []
offsite = []

[offsite.b2]
remote = "b2:bucket/backups"
rclone_config = "/etc/hiveden-backup/rclone.conf"
recipients = ["age17ll4e9x0c0xlev87vvh8cs4x4vttp5pkm6hee7yy07d37y4n4q6q79ukc8"]
slice = "64MiB"
bandwidth = "08:00,512k 23:00,off"
keep_local = "newest"
reconcile = "1d"
verify_budget = 0

[offsite.b2.retention]
keep_monthly = 24

[offsite.usb]
remote = "/media/usb/backups"
encrypt = false
"""


def read(text: str) -> Config:
    return parse(tomllib.loads(text), lambda _: "config.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            SAMPLE,
            Config(
                directory="/shares/backups",
                docker="unix:///run/docker.sock",
                retention=GLOBAL,
                jobs={
                    "immich": Job(
                        name="immich",
                        schedule=("*-*-* 02:30",),
                        jitter=600.0,
                        paths=("/shares/apps/immich",),
                        volumes=("immich_data",),
                        exclude=("**/cache",),
                        containers=("immich_server", "immich_microservices"),
                        postgres=(PostgresSource(container="immich_postgres", databases=("immich",)),),
                        retention=GLOBAL,
                    )
                },
            ),
            id="the sample",
        ),
        pytest.param(
            EVERY_KEY,
            Config(
                directory="/srv/backups",
                docker="ssh://root@nas",
                retention=Retention(1, 2, 3, 4, 5, 6, 172800.0),
                api=Api(token_file="/etc/hiveden-backup/token", idle=90.0, allow_loopback=True),
                jobs={
                    "all": Job(
                        name="all",
                        schedule=("daily", "30 2 * * 1-5"),
                        catch_up=False,
                        jitter=1.5,
                        paths=("/srv/a", "/srv/ab"),
                        volumes=("v1", "v2"),
                        exclude=("*.tmp",),
                        containers=("c",),
                        postgres=(
                            PostgresSource(container="pg", user="immich", globals=False),
                            PostgresSource(
                                dsn="host=/run/postgresql port=5433",
                                databases=("a", "b = c"),
                                os_user="postgres",
                                passfile="/etc/hiveden-backup/pgpass",
                            ),
                        ),
                        retention=Retention(keep_last=0),
                        stop_timeout=60.0,
                        start_timeout=120.0,
                        max_downtime=3600.0,
                        timeout=172800.0,
                        compact_ratio=1.0,
                        one_file_system=True,
                        spool=True,
                        max_age=604800.0,
                        lock_wait=0.0,
                        undo_keep=2629800.0,
                        compression_level=19,
                        dump_lock_timeout=5.0,
                        unusual=False,
                        offsite=("b2",),
                    ),
                    "none": Job(name="none", volumes=("v",), offsite=()),
                },
                offsites={
                    "b2": Offsite(
                        name="b2",
                        remote="b2:bucket/backups",
                        rclone_config="/etc/hiveden-backup/rclone.conf",
                        recipients=("age17ll4e9x0c0xlev87vvh8cs4x4vttp5pkm6hee7yy07d37y4n4q6q79ukc8",),
                        slice=64 << 20,
                        bandwidth="08:00,512k 23:00,off",
                        keep_local="newest",
                        reconcile=86400.0,
                        verify_budget=0,
                        retention=Retention(keep_monthly=24),
                    ),
                    "usb": Offsite(name="usb", remote="/media/usb/backups", encrypt=False),
                },
            ),
            id="every key",
        ),
        pytest.param('directory = "/b"', Config(directory="/b", jobs={}), id="nothing but the directory"),
    ],
)
def test_a_configuration_has_exactly_these_values(text: str, expected: Config) -> None:
    assert read(text) == expected


def test_a_jobs_own_retention_replaces_the_global_one_entirely() -> None:
    config = read('directory="/b"\n[retention]\nkeep_daily=9\n[jobs.a]\nvolumes=["v"]\nretention={keep_last=1}')
    assert config.jobs["a"].retention == Retention(keep_last=1)


def test_the_defaults_are_those_of_the_contract() -> None:
    job = complete_table(read('directory = "/b"\n[jobs.immich]\nvolumes = ["v"]'))["jobs"]
    assert job == {
        "immich": {
            "schedule": [],
            "catch_up": True,
            "jitter": "0",
            "paths": [],
            "volumes": ["v"],
            "exclude": [],
            "containers": [],
            "stop_timeout": "30s",
            "start_timeout": "5min",
            "max_downtime": "10min",
            "timeout": "1d",
            "compact_ratio": 0.5,
            "one_file_system": False,
            "spool": False,
            "max_age": None,
            "lock_wait": "1h",
            "undo_keep": "7d",
            "compression_level": 3,
            "dump_lock_timeout": "1min",
            "unusual": True,
            "offsite": None,
            "retention": dict.fromkeys(
                ("keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly", "keep_within")
            ),
            "postgres": [],
        }
    }


# ---- back to tables ------------------------------------------------------------------------------------------------


def test_a_jobs_table_has_what_differs_from_the_defaults() -> None:
    jobs = read(EVERY_KEY).jobs
    assert job_table(jobs["none"]) == {"volumes": ["v"], "offsite": []}
    assert job_table(read(SAMPLE).jobs["immich"]) == {
        "schedule": "*-*-* 02:30",
        "jitter": "10min",
        "paths": ["/shares/apps/immich"],
        "volumes": ["immich_data"],
        "exclude": ["**/cache"],
        "containers": ["immich_server", "immich_microservices"],
        "postgres": [{"container": "immich_postgres", "databases": ["immich"]}],
        "retention": {"keep_last": 7, "keep_daily": 14, "keep_weekly": 8, "keep_monthly": 12},
    }


def again(job: Job) -> Job:
    """The job read from what `job_table` wrote, by way of TOML."""
    places = {name: {"remote": f"/{name}", "encrypt": False} for name in job.offsite or ()}
    table = {"directory": "/an/unlikely/place", "jobs": {job.name: job_table(job)}, "offsite": places}
    return parse(tomllib.loads(tomli_w.dumps(table)), lambda _: "").jobs[job.name]


@pytest.mark.parametrize("text", [SAMPLE, EVERY_KEY])
def test_tables_read_back_to_the_same_values(text: str) -> None:
    config = read(text)
    assert parse(tomllib.loads(tomli_w.dumps(effective_table(config))), lambda _: "") == config
    for job in config.jobs.values():
        assert again(job) == job

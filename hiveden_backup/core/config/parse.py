"""The configuration's tables to values and back. Every key, its type, its default and its rules are here.

Whether paths, containers and databases exist, and whether a schedule ever elapses, is not asked here.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace

from hiveden_backup.core import sizes, spans
from hiveden_backup.core.config import rules
from hiveden_backup.core.config.gone import GONE
from hiveden_backup.core.config.keys import Key, quoted
from hiveden_backup.core.config.offsites import check_names, check_places, offsite_name, offsites
from hiveden_backup.core.config.reader import Problems, TomlTable
from hiveden_backup.core.config.values import Api, Config, Job, Offsite, PostgresSource, Retention
from hiveden_backup.core.names import did_you_mean, is_job_name, server_names
from hiveden_backup.core.paths import inside
from hiveden_backup.core.schedule.expression import ScheduleError, to_calendars

_Record = Config | Retention | Job | PostgresSource | Api | Offsite

_JOB = Job(name="")
_API = Api()
_SOURCE = PostgresSource()
_HOMES = (
    (Config, "the top of the file"),
    (Retention, "[retention], [jobs.NAME.retention] or [offsite.NAME.retention]"),
    (Job, "[jobs.NAME], above its other tables"),
    (PostgresSource, "[[jobs.NAME.postgres]]"),
    (Api, "[api]"),
    (Offsite, "[offsite.NAME]"),
)
_SPANS = frozenset(
    {"jitter", "stop_timeout", "start_timeout", "max_downtime", "timeout", "max_age", "lock_wait", "undo_keep"}
    | {"dump_lock_timeout", "keep_within", "idle", "reconcile"}
)
_KEYS = {"offsites": "offsite"}
_SIZES = frozenset({"slice", "verify_budget"})


def parse(table: Mapping[str, object], origin: Callable[[Key], str]) -> Config:
    """The configuration that `table`, the merged files, says. ConfigError with all its problems at once.

    `origin` tells the name of the file that a key came from; it is asked about keys of the table and about required
    ones that are missing, never with indexes of arrays.
    """
    problems = Problems(origin)
    top = TomlTable(table, (), problems)
    directory = top.text("directory", rules.backup_directory)
    if not top.has("directory"):
        top.problem("directory", "is missing", 'Name the backup directory: directory = "/srv/backups"')
    docker = top.text("docker", rules.docker_address)
    own = top.table("retention")
    retention = _retention(own) if own is not None else Retention()
    api_table = top.table("api")
    api = _api(api_table) if api_table is not None else _API
    jobs_table = top.table("jobs")
    offsite_table = top.table("offsite")
    places = _offsites(offsite_table, directory) if offsite_table is not None else {}
    jobs = _jobs(jobs_table, directory, retention, places) if jobs_table is not None else {}
    top.finish(_advice)
    problems.raise_any()
    if directory is None:
        raise AssertionError("a missing directory is a problem")
    return Config(directory=directory, jobs=jobs, docker=docker, retention=retention, api=api, offsites=places)


def job_table(job: Job) -> dict[str, object]:
    """What of a job's configuration differs from the defaults, as it would be written in `[jobs.NAME]`.

    There are no secrets in it, since `parse` lets none in. The retention is the effective one.
    """
    defaults = _job_values(_JOB)
    own = {key: value for key, value in _job_values(job).items() if value != defaults[key]}
    if job.postgres:
        own["postgres"] = [_own_source_values(source) for source in job.postgres]
    return _set_values(own)


def retention_table(retention: Retention) -> dict[str, object]:
    """The rules that are set, as they would be written in `[retention]`."""
    return _set_values(_plain_values(retention))


def complete_table(config: Config) -> dict[str, object]:
    """The effective configuration with every key there is; None where a key is not set and has no fixed default."""
    return {
        **_plain_values(config, leave_out={"jobs", "retention", "api", "offsites"}),
        "retention": _plain_values(config.retention),
        "api": _plain_values(config.api),
        "offsite": {name: _offsite_values(each) for name, each in config.offsites.items()},
        "jobs": {name: _job_values(job) for name, job in config.jobs.items()},
    }


def effective_table(config: Config) -> dict[str, object]:
    """The effective configuration, defaults too, ready for TOML. `parse` gives the same configuration back."""
    return _set_values(complete_table(config))


# ---- reading -------------------------------------------------------------------------------------------------------


def _jobs(table: TomlTable, directory: str | None, retention: Retention, places: Collection[str]) -> dict[str, Job]:
    jobs = {}
    for name, inner in table.each_table():
        if not is_job_name(name):
            hint = 'Use up to 48 of a-z, 0-9, "-" and "_", a letter or digit first'
            table.problem(name, "not a name for a job", hint)
        jobs[name] = _job(name, inner, directory, retention)
        check_names(inner, jobs[name].offsite, places)
    return jobs


def _job(name: str, table: TomlTable, directory: str | None, retention: Retention) -> Job:
    own = table.table("retention")
    job = Job(
        name=name,
        schedule=_schedule(table),
        catch_up=table.flag("catch_up", default=_JOB.catch_up),
        jitter=table.span("jitter", _JOB.jitter, zero=True),
        paths=table.names("paths", rules.absolute_path),
        volumes=table.names("volumes", rules.volume_name),
        exclude=table.texts("exclude", _exclude_pattern),
        containers=table.names("containers", rules.container_name),
        postgres=tuple(_source(entry) for entry in table.tables("postgres")),
        retention=_retention(own) if own is not None else retention,
        stop_timeout=table.span("stop_timeout", _JOB.stop_timeout),
        start_timeout=table.span("start_timeout", _JOB.start_timeout),
        max_downtime=table.span("max_downtime", _JOB.max_downtime),
        timeout=table.span("timeout", _JOB.timeout),
        compact_ratio=table.share("compact_ratio", _JOB.compact_ratio),
        one_file_system=table.flag("one_file_system", default=_JOB.one_file_system),
        spool=table.flag("spool", default=_JOB.spool),
        max_age=table.span("max_age", None),
        lock_wait=table.span("lock_wait", _JOB.lock_wait, zero=True),
        undo_keep=table.span("undo_keep", _JOB.undo_keep),
        compression_level=table.integer("compression_level", _JOB.compression_level, least=1, most=19),
        dump_lock_timeout=table.span("dump_lock_timeout", _JOB.dump_lock_timeout),
        unusual=table.flag("unusual", default=_JOB.unusual),
        offsite=table.optional_names("offsite", offsite_name),
    )
    for key, why in GONE.items():
        table.gone(key, why)
    table.finish(_advice)
    if not any(table.has(key) for key in ("paths", "volumes", "postgres")):
        table.problem(None, "the job has nothing to back up", "Give it paths, volumes or a postgres table")
    _check_paths(table, job.paths, directory)
    if job.exclude:
        _check_excludes(table, job.exclude, job.paths)
    _check_servers(table, job.postgres)
    return job


def _schedule(table: TomlTable) -> tuple[str, ...]:
    expressions = table.texts("schedule", single=True)
    for expression in expressions:
        try:
            to_calendars(expression)
        except ScheduleError as error:
            table.problem("schedule", error.message, error.hint)
    return expressions


def _source(table: TomlTable) -> PostgresSource:
    source = PostgresSource(
        container=table.text("container", rules.container_name),
        databases=table.names("databases", rules.database_name),
        user=table.text("user"),
        os_user=table.text("os_user"),
        passfile=table.text("passfile", rules.absolute_path),
        globals=table.flag("globals", default=_SOURCE.globals),
    )
    source = _with_dsn(source, table)
    table.finish(_advice)
    if table.has("container") == table.has("dsn"):
        which = "has both a container and a dsn" if table.has("dsn") else "has neither a container nor a dsn"
        table.problem(None, which, "Give it exactly one of them")
    if table.has("os_user") and not table.has("dsn"):
        table.problem("os_user", "only goes with a dsn", "Use user for the role to connect as")
    for key in ("user", "passfile"):
        if key in source.parameters and table.has(key):
            table.problem(key, "is in the dsn, too", "Give it once")
    return source


def _with_dsn(source: PostgresSource, table: TomlTable) -> PostgresSource:
    """The source with the dsn of its table, where that is good. Its text is never quoted: it may hold a password."""
    try:
        found = replace(source, dsn=table.text("dsn"))
    except ValueError as error:
        message = f"is not a libpq connection string: {error}"
        table.problem("dsn", message, 'An example: "host=127.0.0.1 user=backup"')
        return source
    fault = rules.dsn(found.parameters)
    if fault is None:
        return found
    table.problem("dsn", fault.message, fault.hint)
    return source


def _retention(table: TomlTable) -> Retention:
    retention = Retention(
        keep_last=table.integer("keep_last", None, least=0),
        keep_hourly=table.integer("keep_hourly", None, least=0),
        keep_daily=table.integer("keep_daily", None, least=0),
        keep_weekly=table.integer("keep_weekly", None, least=0),
        keep_monthly=table.integer("keep_monthly", None, least=0),
        keep_yearly=table.integer("keep_yearly", None, least=0),
        keep_within=table.span("keep_within", None),
    )
    table.finish(_advice)
    return retention


def _api(table: TomlTable) -> Api:
    api = Api(
        token_file=table.text("token_file", rules.absolute_path),
        idle=table.span("idle", _API.idle),
        allow_loopback=table.flag("allow_loopback", default=_API.allow_loopback),
    )
    table.finish(_advice)
    return api


def _offsites(table: TomlTable, directory: str | None) -> dict[str, Offsite]:
    found = {}
    for name, inner, offsite in offsites(table):
        own = inner.table("retention")
        found[name] = replace(offsite, retention=_retention(own)) if own is not None else offsite
        inner.finish(_advice)
        check_places(inner, found, offsite, directory)
    return found


def _check_paths(table: TomlTable, paths: Sequence[str], directory: str | None) -> None:
    distinct = tuple(dict.fromkeys(paths))
    for path in distinct:
        outer = next((other for other in distinct if other != path and inside(path, other)), None)
        if outer is not None:
            table.problem("paths", f"{quoted(path)} is already covered by {quoted(outer)}", f"Remove {quoted(path)}")
        if directory is not None and inside(path, directory):
            where = "is" if path == directory else "lies inside"
            table.problem(
                "paths", f"{quoted(path)} {where} the backup directory", "Backups are not backed up: remove it"
            )


def _exclude_pattern(text: str) -> rules.Fault | None:
    from hiveden_backup.core.config.patterns import exclude_pattern  # noqa: PLC0415 - many jobs have no pattern

    return exclude_pattern(text)


def _check_excludes(table: TomlTable, patterns: Sequence[str], paths: Sequence[str]) -> None:
    from hiveden_backup.core.config.patterns import covers  # noqa: PLC0415 - many jobs have no pattern

    for pattern in patterns:
        for path in paths:
            if covers(pattern, path):
                hint = "Remove one of the two, or leave out something below it"
                table.problem("exclude", f"{quoted(pattern)} excludes all of {quoted(path)}", hint)


def _check_servers(table: TomlTable, sources: Sequence[PostgresSource]) -> None:
    """One entry per server: files in a backup are called by the name of the server, and its port where needed."""
    valid = [source for source in sources if (source.container is None) != (source.dsn is None)]
    names = server_names(valid)
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        hint = "List its databases in one entry"
        table.problem("postgres", f"the server {quoted(name)} is listed twice", hint)


def _advice(unknown: str, known: Collection[str]) -> str:
    """A hint for an unknown key: where it belongs, else the known key that looks like it."""
    if unknown == "password":
        return "Put the password into a file and name it in passfile"
    home = next((place for shape, place in _HOMES if unknown in _keys(shape)), None)
    if home is not None:
        return f"It belongs in {home}" if home[0] == "[" else f"It belongs at {home}"
    return did_you_mean(unknown, known, f"Known here: {', '.join(sorted(known))}", quoted)


def _keys(shape: type[_Record]) -> set[str]:
    return {_KEYS.get(field.name, field.name) for field in fields(shape) if field.init} - {"name"}


# ---- writing -------------------------------------------------------------------------------------------------------


def _job_values(job: Job) -> dict[str, object]:
    schedule = job.schedule[0] if len(job.schedule) == 1 else list(job.schedule)
    return {
        "schedule": schedule,
        **_plain_values(job, leave_out={"name", "schedule", "postgres", "retention"}),
        "retention": _plain_values(job.retention),
        "postgres": [_plain_values(source) for source in job.postgres],
    }


def _offsite_values(offsite: Offsite) -> dict[str, object]:
    return {
        **_plain_values(offsite, leave_out={"name", "retention"}),
        "bandwidth": offsite.bandwidth or None,
        "retention": _plain_values(offsite.retention),
    }


def _own_source_values(source: PostgresSource) -> dict[str, object]:
    defaults = _plain_values(_SOURCE)
    return {key: value for key, value in _plain_values(source).items() if value != defaults[key]}


def _plain_values(record: _Record, leave_out: Collection[str] = ()) -> dict[str, object]:
    """A record's fields as TOML writes them, but for those left out; None where nothing is set."""
    return {
        field.name: _plain(field.name, getattr(record, field.name))
        for field in fields(record)
        if field.init and field.name not in leave_out
    }


def _plain(name: str, value: object) -> object:
    match value:
        case float() if name in _SPANS:
            return spans.text(value)
        case int() if name in _SIZES:
            return sizes.exact(value)
        case tuple():
            return list(value)
        case _:
            return value


def _set_values(table: Mapping[str, object]) -> dict[str, object]:
    """The table without what is None, at any depth."""
    return {name: _set_value(value) for name, value in table.items() if value is not None}


def _set_value(value: object) -> object:
    match value:
        case Mapping():
            return _set_values(value)
        case list():
            return [_set_value(element) for element in value]
        case _:
            return value

"""What a configuration says, as values. Spans of time are seconds as float."""

from collections.abc import Mapping

from hiveden_backup.core.dataclass import dataclass, field


@dataclass(frozen=True, slots=True)
class Retention:
    """How many backups to keep; None means that the rule is not set. `keep_within` is seconds."""

    keep_last: int | None = None
    keep_hourly: int | None = None
    keep_daily: int | None = None
    keep_weekly: int | None = None
    keep_monthly: int | None = None
    keep_yearly: int | None = None
    keep_within: float | None = None


@dataclass(frozen=True, slots=True)
class PostgresSource:
    """One server whose databases a job dumps: a container by name, or a libpq dsn. Exactly one of the two is set.

    `databases` empty means all that allow connections, are no templates and are not ours. `parameters` are what the dsn
    says, read once, here: a ValueError when it is broken. It is no key of the configuration.
    """

    container: str | None = None
    dsn: str | None = None
    databases: tuple[str, ...] = ()
    user: str | None = None
    os_user: str | None = None
    passfile: str | None = None
    globals: bool = True
    parameters: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parameters: Mapping[str, str] = {}
        if self.dsn is not None:
            from hiveden_backup.core.postgres.conninfo import parse  # noqa: PLC0415 - its patterns take long to compile

            parameters = parse(self.dsn)
        object.__setattr__(self, "parameters", parameters)

    @property
    def server(self) -> str:
        """What the server is called: its container's name, else the host as given, its address, or `local`."""
        if self.container is not None:
            return self.container
        return self.parameters.get("host") or self.parameters.get("hostaddr") or "local"

    @property
    def port(self) -> str:
        """Its port; "" for a container's."""
        return self.parameters.get("port", "5432") if self.dsn is not None else ""


@dataclass(frozen=True, slots=True)
class Job:
    """A named unit of the configuration. Field names are the configuration's keys.

    `offsite` names the places that its backups go to; None stands for all there are.
    """

    name: str
    schedule: tuple[str, ...] = ()
    catch_up: bool = True
    jitter: float = 0.0
    paths: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    postgres: tuple[PostgresSource, ...] = ()
    retention: Retention = Retention()
    stop_timeout: float = 30.0
    start_timeout: float = 300.0
    max_downtime: float = 600.0
    timeout: float = 86400.0
    compact_ratio: float = 0.5
    one_file_system: bool = False
    spool: bool = False
    max_age: float | None = None
    lock_wait: float = 3600.0
    undo_keep: float = 604800.0
    compression_level: int = 3
    dump_lock_timeout: float = 60.0
    unusual: bool = True
    offsite: tuple[str, ...] | None = None

    @property
    def has_files(self) -> bool:
        """Whether the job archives anything from the file system."""
        return bool(self.paths or self.volumes)


@dataclass(frozen=True, slots=True)
class Api:
    """The `[api]` table. `idle` is seconds."""

    token_file: str | None = None
    idle: float = 60.0
    allow_loopback: bool = False


@dataclass(frozen=True, slots=True)
class Offsite:
    """A remote place that holds encrypted copies, and how they get there. Sizes are bytes, `reconcile` seconds.

    `remote` is rclone's `REMOTE:PATH`, or an absolute path. Without a retention of its own all that is there stays.
    """

    name: str
    remote: str = ""
    rclone_config: str | None = None
    recipients: tuple[str, ...] = ()
    encrypt: bool = True
    slice: int = 128 << 20
    bandwidth: str = ""
    keep_local: str = "all"
    reconcile: float = 604800.0
    verify_budget: int = 5 << 30
    retention: Retention = Retention()

    @property
    def keeps_newest(self) -> bool:
        """Whether archives leave this machine once they are seen to be there whole."""
        return self.keep_local == "newest"

    @property
    def is_local(self) -> bool:
        """Whether it is a directory of this machine: a disk that comes and goes, say."""
        return self.remote.startswith("/")


@dataclass(frozen=True, slots=True)
class Config:
    """The whole effective configuration. `docker` None means DOCKER_HOST, else the default socket.

    `offsites` are the tables `[offsite.NAME]`, in the order in which they stand there.
    """

    directory: str
    jobs: Mapping[str, Job]
    docker: str | None = None
    retention: Retention = Retention()
    api: Api = Api()
    offsites: Mapping[str, Offsite] = field(default_factory=dict)

    def offsites_of(self, job: Job) -> "tuple[Offsite, ...]":
        """Where the backups of a job go."""
        return tuple(each for name, each in self.offsites.items() if job.offsite is None or name in job.offsite)

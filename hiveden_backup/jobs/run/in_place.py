"""Whether an in-place restore of a job's files could be done as things are now: which `check` says in time."""

import os
from collections.abc import Collection, Iterator

from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.model import Check, SourceKind
from hiveden_backup.core.paths import inside
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.restore.in_use import Servers, find_users, server_sources
from hiveden_backup.jobs.restore.places import Files, path_place, volume_place
from hiveden_backup.jobs.run.plan import Draft

_WHAT = "An in-place restore of this job"


def check_in_place(draft: Draft, installation: Installation) -> None:
    """Warn of what it would stop beyond `containers`, and of all that would prevent it."""
    if draft.trees is None:
        return
    kept_out = tuple(os.path.realpath(path) for path in (installation.config.directory, installation.state))
    files = Files(draft.trees.exclude, kept_out)
    volumes = {source.path: source.name for source in draft.sources if source.kind is SourceKind.VOLUME}
    for root in draft.trees.roots:
        try:
            name = volumes.get(root)
            if name is None or draft.docker is None:
                files.places.append(path_place(root, kept_out))
            else:
                files.places.append(volume_place(root, draft.docker.volume(name), kept_out))
        except BackupError as error:
            draft.findings.warn(Check.PATH, f"{_WHAT} is refused: {error.what}. {error.why}", error.hint)
    stopped = {container.id for container in draft.containers if container.goes_down}
    servers = Servers(server_sources([draft.job]), draft.docker, though_down=True)
    users = find_users(tuple(_quiet(draft, files, servers.sources)), stopped, files, servers)
    for obstacle in users.obstacles:  # no warning: who only reads does a backup no harm, and is stopped easily
        draft.findings.ok(Check.CONTAINER, f"{_WHAT} waits for this: {obstacle.why}; {obstacle.hint}")
    for server in users.servers:
        dumped = server.name in servers.sources
        who = "whose databases the job dumps" if dumped else "which lives in one whose databases the job dumps"
        draft.findings.warn(
            Check.CONTAINER,
            f"{_WHAT} also stops {server.name}, {who}, for a moment",
            "It has files of the job mounted; with --path, only what is restored counts" if dumped else "",
        )


def _quiet(draft: Draft, files: Files, servers: Collection[str]) -> Iterator[Container]:
    """Those of which it is not said already that they write to what is archived: the servers, and who only reads."""
    for container in draft.everything or ():
        written = [os.path.realpath(mount.source) for mount in container.mounts if mount.writable and mount.source]
        writes = any(inside(path, place.live) or inside(place.live, path) for path in written for place in files.places)
        if container.name in servers or not writes:
            yield container

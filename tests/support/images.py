"""Images without a registry: a busybox, and a root for the machine's own PostgreSQL."""

import io
import os
import pwd
import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import pytest
from docker.api import APIClient

BUSYBOX = "test-busybox"
POSTGRES = "test-postgres"
USER, PASSWORD = "postgres", "secret"

_START = """#!/bin/sh
# What the official image does, in short: make the cluster on the first start, then become the server.
set -e
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"; }
create_database() {
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    if [ "$POSTGRES_DB" != postgres ]; then
        echo "CREATE DATABASE \\"$POSTGRES_DB\\"" | as_postgres postgres --single -jE -D "$PGDATA" postgres
    fi
}
mkdir -p "$PGDATA" /run/postgresql
chown postgres:postgres "$PGDATA" /run/postgresql
if [ ! -s "$PGDATA/PG_VERSION" ] && [ "$(command -v initdb) $POSTGRES_USER $POSTGRES_PASSWORD" = "$(cat /made)" ]; then
    cp -a /cluster/. "$PGDATA" # what initdb would make, in a tenth of the time
    create_database
elif [ ! -s "$PGDATA/PG_VERSION" ]; then
    umask 077
    printf %s "$POSTGRES_PASSWORD" >/run/password
    chown postgres: /run/password
    as_postgres initdb --pgdata="$PGDATA" --no-sync --encoding=UTF8 --locale=C.UTF-8 --username="$POSTGRES_USER" \\
        --auth-local=trust --auth-host=scram-sha-256 --pwfile=/run/password
    rm /run/password
    create_database
fi
exec setpriv --reuid=postgres --regid=postgres --init-groups -- postgres -D "$PGDATA" \\
    --listen_addresses='*' --unix_socket_directories=/var/run/postgresql --fsync=off "$@"
"""


def ensure(api: APIClient, image: str) -> None:
    """Import one of the images above unless it is there already."""
    if image not in (BUSYBOX, POSTGRES) or api.images(image):
        return
    if image == BUSYBOX:
        api.import_image_from_data(_busybox(), repository=BUSYBOX, changes=["ENV PATH=/bin"])
    else:
        api.import_image_from_data(
            _postgres(), repository=POSTGRES, changes=["ENV PGDATA=/var/lib/postgresql/data", "WORKDIR /"]
        )


def postgres_programs(major: str) -> Path:
    """Where the machine's PostgreSQL programs are; "" means the newest major version."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob(f"{major or '*'}/bin/initdb")]
    if not found:
        pytest.fail(f"PostgreSQL {major} is not installed: apt-get install postgresql")
    return max(found, key=lambda path: float(path.parent.name))


def _busybox() -> bytes:
    program = shutil.which("busybox") or pytest.fail("busybox is not installed: apt-get install busybox-static")
    applets = subprocess.run([program, "--list"], capture_output=True, check=True, text=True).stdout.split()
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for folder in ("bin", "etc", "proc", "sys", "dev", "tmp", "root"):
                archive.addfile(_directory(folder))
            archive.add(program, "bin/busybox")
            for applet in applets:
                if applet != "busybox":
                    archive.addfile(_link(f"bin/{applet}", "busybox"))
        return file.getvalue()


@cache
def _postgres() -> bytes:
    """An empty root whose programs come from a read-only mount of the machine's /usr, and a cluster of those."""
    account = pwd.getpwnam("postgres")
    texts = {
        "etc/passwd": f"root:x:0:0::/root:/bin/sh\npostgres:x:{account.pw_uid}:{account.pw_gid}::/tmp:/bin/sh\n",
        "etc/group": f"root:x:0:\npostgres:x:{account.pw_gid}:\n",
        "start.sh": _START,
    }
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for folder in ("usr", "etc", "proc", "sys", "dev", "tmp", "root", "run", "var", "var/lib"):
                archive.addfile(_directory(folder))
            for name in os.listdir("/"):
                if os.path.islink(f"/{name}") and os.readlink(f"/{name}").startswith("usr/"):
                    archive.addfile(_link(name, os.readlink(f"/{name}")))
            archive.addfile(_link("var/run", "/run"))
            _add_cluster(archive, account, texts)
            for name, text in texts.items():
                entry = tarfile.TarInfo(name)
                entry.mode, entry.size = 0o755, len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
        return file.getvalue()


def _add_cluster(archive: tarfile.TarFile, account: pwd.struct_passwd, texts: dict[str, str]) -> None:
    """A new cluster for the user and the password that tests mostly use, and what it was made of."""
    initdb = postgres_programs("") / "initdb"
    with tempfile.TemporaryDirectory() as top:
        os.chown(top, account.pw_uid, account.pw_gid)
        (secret := Path(top, "password")).write_text(PASSWORD)
        os.chown(secret, account.pw_uid, account.pw_gid)
        subprocess.run(
            [
                *("setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--", initdb),
                *(f"--pgdata={top}/cluster", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", f"--username={USER}"),
                *("--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}"),
            ],
            check=True,
            capture_output=True,
            cwd=top,
        )
        archive.add(f"{top}/cluster", "cluster")
    texts["made"] = f"{initdb} {USER} {PASSWORD}\n"


def _directory(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
    return entry


def _link(name: str, target: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    return entry

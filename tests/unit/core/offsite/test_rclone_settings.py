"""Which settings of rclone stand on paper: none that opens a place."""

import pytest

from hiveden_backup.core.offsite.rclone_settings import for_paper, is_encrypted, sections

TEXT = """\
# a comment
[b2]
type = s3
provider = Other
access_key_id = 001
secret_access_key = TOPSECRET
endpoint = https://user:word@s3.example.org/x

[friend]
type = sftp
pass = obscured
key_pem = -----BEGIN KEY-----
key_file=/etc/id
token = {"access_token":"abc"}

[there]
type = alias
remote = chain:folder
[chain]
type = crypt
remote = b2:bucket
password = hidden
"""


def test_sections_are_read() -> None:
    found = sections(TEXT)
    assert list(found) == ["b2", "friend", "there", "chain"]
    assert found["b2"]["provider"] == "Other"


def test_what_is_secret_or_unknown_is_a_line_to_fill() -> None:
    lines = for_paper("b2", sections(TEXT)) + for_paper("friend", sections(TEXT))
    told = "\n".join(lines)
    for secret in ("TOPSECRET", "word", "obscured", "BEGIN KEY", "abc"):
        assert secret not in told
    for open_ in ("access_key_id = 001", "endpoint = https://s3.example.org/x", "type = sftp", "key_file = /etc/id"):
        assert open_ in told
    for key in ("secret_access_key", "pass", "key_pem", "token"):
        assert f"{key} = ____" in told


def test_what_a_remote_leads_to_comes_along() -> None:
    lines = for_paper("there", sections(TEXT))
    assert [line for line in lines if line.startswith("[")] == ["[there]", "[chain]", "[b2]"]
    assert "hidden" not in "\n".join(lines)


def test_a_circle_ends_and_an_unknown_remote_is_nothing() -> None:
    assert for_paper("a", {"a": {"remote": "b:"}, "b": {"remote": "a:x"}}) == (
        "[a]",
        "remote = b:",
        "[b]",
        "remote = a:x",
    )
    assert for_paper("nowhere", {}) == ()


def test_an_encrypted_configuration_is_known() -> None:
    assert is_encrypted("# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nabc=")
    assert not is_encrypted(TEXT)


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("url", "https://u:SECRET/SECRET@h/dav", "https://h/dav"),
        ("url", "https://u:SECRET@SECRET@h/dav", "https://h/dav"),
        ("url", "https://u:SECRET?SECRET#SECRET@h/dav", "https://h/dav"),
        ("url", "https://u:SECRET SECRET@h/dav", "https://h/dav"),
        ("url", "https://h/dav?token=SECRET", "https://h/dav"),
        ("url", "https://h/dav#SECRET", "https://h/dav"),
        ("endpoint", "u:SECRET@h:9000", "h:9000"),
        ("location_constraint", "ftp://u:SECRET@h", "ftp://h"),
        ("user", "anna@example.org", "anna@example.org"),
        ("remote", ":s3,access_key_id=A,secret_access_key=SECRET:bucket", "_" * 40),
        ("remote", "b2,secret_access_key=SECRET:bucket", "_" * 40),
        ("remote", ":webdav,url='https://u:SECRET@h':x", "_" * 40),
        ("remote", "b2,key=SECRET", "_" * 40),
        ("remote", "b2:a,b/c@d?", "b2:a,b/c@d?"),
    ],
)
def test_a_secret_within_a_setting_does_not(key: str, value: str, shown: str) -> None:
    assert for_paper("a", {"a": {key: value}}) == ("[a]", f"{key} = {shown}")

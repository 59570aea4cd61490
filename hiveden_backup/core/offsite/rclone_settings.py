"""What of rclone's configuration may stand on paper: settings that are no secrets, and the names of those that are."""

import re
from collections.abc import Mapping

OPEN = frozenset(
    {"type", "provider", "region", "endpoint", "location_constraint", "storage_class", "acl", "env_auth"}
    | {"force_path_style", "account", "access_key_id", "host", "user", "port", "key_file", "shell_type", "vendor"}
    | {"url", "remote", "share", "domain", "hard_delete", "chunk_size", "upload_cutoff", "known_hosts_file"}
    | {"md5sum_command", "sha1sum_command", "drive_id", "drive_type", "team_drive", "root_folder_id", "scope"}
    | {"server_side_encryption", "disable_hashcheck", "use_agent", "path_override", "bucket_policy_only"}
)
"""Settings that open nothing by themselves. What is not among them counts as a secret."""

_ADDRESSES = frozenset({"url", "endpoint", "host"})
_SECTION = re.compile(r"\[(?P<name>[^\]]+)\]\s*")
_SETTING = re.compile(r"(?P<key>[A-Za-z0-9_-]+)\s*=\s*(?P<value>.*)")
_LOGIN = re.compile(r"(?:(?<=://)|^(?!.*://)).*@")  # to the last one: a password may have any of `/`, `:`, `?` and `@`
_QUESTION = re.compile(r"[?#].*")
_BLANK = "_" * 40


def sections(text: str) -> dict[str, dict[str, str]]:
    """The parts of a configuration by the names of their remotes; of an encrypted one, none."""
    found: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in text.split("\n"):
        stripped = line.strip()
        if section := _SECTION.fullmatch(stripped):
            current = found.setdefault(section["name"], {})
        elif setting := _SETTING.fullmatch(stripped):
            current[setting["key"]] = setting["value"]
    return found


def is_encrypted(text: str) -> bool:
    """Whether rclone wants a password before it reads this."""
    return "RCLONE_ENCRYPT_V0" in text


def for_paper(name: str, known: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """The part of the remote `name`, and those that it leads to, secrets left to be filled in by hand."""
    lines: list[str] = []
    wanted, done = [name], set[str]()
    while wanted:
        each = wanted.pop(0)
        if each in done or each not in known:
            continue
        done.add(each)
        lines.append(f"[{each}]")
        lines += [f"{key} = {_shown(key, value)}" for key, value in known[each].items()]
        below = known[each].get("remote", "").partition(":")
        wanted += [below[0]] * bool(below[1])
    return tuple(lines)


def _shown(key: str, value: str) -> str:
    if key not in OPEN or (key == "remote" and _sets_more(value)):
        return _BLANK
    if key in _ADDRESSES or "://" in value:
        return _QUESTION.sub("", _LOGIN.sub("", value))
    return value + ("    <- a file: keep a copy of it elsewhere" if key == "key_file" and value else "")


def _sets_more(remote: str) -> bool:
    """Whether a remote brings settings along, as in `:s3,secret_access_key=...:bucket`."""
    return remote.startswith(":") or "," in remote.partition(":")[0]

"""What rclone says when it fails, as our errors: away, denied, full, or set up wrongly; and no secret in any of them.

Its exit statuses do not tell (all of these are 1), so its words have to.
"""

import json
import re
from collections.abc import Iterator

from hiveden_backup.core.config.values import Offsite
from hiveden_backup.core.errors import (
    BackupError,
    DeniedError,
    FullError,
    ImpossibleError,
    NotFoundError,
    UnreachableError,
)
from hiveden_backup.core.lines import split_lines
from hiveden_backup.core.offsite.rclone_settings import OPEN
from hiveden_backup.core.paths import shortened
from hiveden_backup.core.shown import printable
from hiveden_backup.host.process import Completed, ProcessError

_LINE = re.compile(r"(?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d )?(?:(CRITICAL|ERROR|Fatal error|NOTICE)\s*:? ?:?\s*)?(.*)")
_EMPTY = re.compile(r"Attempt \d+/\d+ |Config file .* not found")
_FAILED = re.compile(r"^Failed to \w+(?: with \d+ errors: last error was)?: ")
_LOGIN = re.compile(r"://[^/\s@\"]*@")
_SECRET = re.compile(
    r"((?:X-Amz-[\w-]+|[\w-]*(?:signature|token|secret|password|passwd|authorization|api_?key))\"?\s*[=:]\s*\"?)"
    r"(?:(?:Basic|Bearer)\s+)?[^\s&\"',]+",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b(Basic|Bearer)\s+[\w.~+/=-]{16,}", re.IGNORECASE)
_SETTING = re.compile(r"^[ \t]*([\w-]+)[ \t]*=[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_SECRET_KEY = re.compile(r"secret|pass|key(?!_file$)|token|sas_url|credential", re.IGNORECASE)
_INNER_LOGIN = re.compile(r"://(.*)@")  # to the last one, as a password may have one in it
_LEAST_SECRET = 6

_CLOCKS = {
    re.compile(
        r"RequestTimeTooSkewed|RequestExpired|difference between the request time|signature not yet current"
        r"|in a reasonable timeframe|\bclock\b",
        re.IGNORECASE,
    ): "to the place, this machine's clock is wrong",
    re.compile(
        r"certificate has expired or is not yet valid", re.IGNORECASE
    ): "this machine's clock is wrong, or the place's certificate has expired",
}
_FULL = re.compile(
    r"no space left|disk quota|quota ?exceeded|insufficient ?storage|\b507\b|storage ?full|cap ?exceeded|out of space"
    r"|disk full|remaining disk space|file too (?:big|large)"
    r"|XMinioStorageFull|SSH_FX_FAILURE|not enough (?:space|storage)",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"access ?denied|\b40[13]\b|forbidden|permission denied|signature ?does ?not ?match|invalid ?access ?key"
    r"|unauthori[sz]ed|unable to authenticate|not authori[sz]ed|invalid_grant|token (?:has )?expired"
    r"|not permitted|bad_auth|read-only|couldn't delete: file does not exist|handshake failed"
    r"|knownhosts|host key|InvalidObjectState|ObjectLocked|WORM",
    re.IGNORECASE,
)
_NO_PLACE = re.compile(r"NoSuchBucket|bucket (?:does not exist|not found)", re.IGNORECASE)
_SET_UP = re.compile(
    r"didn't find section|couldn't (?:decrypt|parse)|unknown (?:flag|shorthand)|didn't find backend|bad_?config"
    r"|unable to decrypt|config ?file.*(?:parse|password)|base64 decode failed",
    re.IGNORECASE,
)
_OTHER_TIME = "Time may be set wrong"
_NOTICED = ("Failed to ", _OTHER_TIME)
"""Of what rclone notices, that is a reason: newer ones say at the end no more than this, where 1.60 has an error."""
_SET_CLOCK = "Look at `timedatectl`, and set the clock: what is to be sent is tried again by itself"


class ClockError(UnreachableError):
    """A place does not answer a machine whose clock is wrong; nor will it in a moment."""


def translated(error: ProcessError, offsite: Offsite, doing: str, configuration: str = "") -> BackupError:
    """`error` in our words; `doing` is such as "sending to". `configuration` has the secrets to be left out."""
    why = said(error.stderr, configuration) or f"rclone ended with status {error.status}"
    what = f"{doing[:1].upper()}{doing[1:]} the offsite {offsite.name} failed"
    if clock := _clock(why, error.stderr):
        return ClockError(f"{what}: {clock}", why, _SET_CLOCK)
    if _FULL.search(why):
        return FullError(what, why, "Make room there, or keep less: look at its retention table")
    if _SET_UP.search(why):
        file = offsite.rclone_config or "its remote"
        return ImpossibleError(what, why, f"Look at {file}, and try: rclone --config {file} lsd {offsite.remote}")
    if _NO_PLACE.search(why):
        return NotFoundError(what, why, "Make the bucket, or correct `remote`")
    if _DENIED.search(why):
        return DeniedError(what, why, "Look at what its key may do, and whether it is still valid")
    return UnreachableError(what, why, "It is tried again by itself; look at the network, and at what is there")


def quiet(error: ProcessError, configuration: str) -> ProcessError:
    """`error` as it may be shown, also in a traceback: what the program said, without the secrets."""
    return ProcessError(Completed(error.program, error.status, b"", said(error.stderr, configuration).encode()))


def _clock(why: str, stderr: str) -> str:
    """What is wrong with this machine's clock; "" where nothing says that it is. A refusal alone may not tell."""
    said_so = next((told for words, told in _CLOCKS.items() if words.search(why)), "")
    if not said_so and _OTHER_TIME in stderr and _DENIED.search(why):
        return "this machine's clock is another than the place's"
    return said_so


def said(text: str, configuration: str = "") -> str:
    """What rclone said, in one printable line, without times, levels, repetition and secrets."""
    found: dict[str, None] = {}
    for line in split_lines(text):
        match = _LINE.fullmatch(line.strip())
        level, text_of_it = (match[1], match[2].strip()) if match is not None else ("", line.strip())
        plain = _FAILED.sub("", text_of_it)
        if plain and not _EMPTY.search(plain) and (level != "NOTICE" or text_of_it.startswith(_NOTICED)):
            found[plain] = None
    lines = list(found)
    kept = [each for each in lines if not any(each != other and each in other for other in lines)]
    return shortened(printable(_without_secrets("; ".join(kept[-3:]), configuration)))


def _without_secrets(text: str, configuration: str) -> str:
    secrets = {secret for key, value in _SETTING.findall(configuration) for secret in _secrets(key, value)}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _LEAST_SECRET:
            text = text.replace(secret, "…")
    return _SCHEME.sub(r"\1 …", _SECRET.sub(r"\1…", _LOGIN.sub("://…@", text)))


def _secrets(key: str, value: str) -> Iterator[str]:
    """What of a setting nobody is to read: all of it, unless it is known to open nothing, or is a plain address."""
    for login in _INNER_LOGIN.findall(value):
        yield from (login, *login.split(":", 1))
    is_address = "://" in value and not {"@", "?"} & {*value}
    if _SECRET_KEY.search(key) or not (key in OPEN or is_address):
        yield from (value, *_inside(value))


def _inside(secret: str) -> Iterator[str]:
    """The texts in a secret that is JSON, as tokens are; but for what kind it is."""
    try:
        todo = [json.loads(secret)]
    except (ValueError, RecursionError):
        return
    while todo:
        match todo.pop():
            case dict() as table:
                todo.extend(value for key, value in table.items() if key != "token_type")
            case list() as values:
                todo.extend(values)
            case str() as text:
                yield text

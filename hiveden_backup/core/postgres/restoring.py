"""The rules of a restore: what pg_restore says of one that came to its end, what to try again, what is not as it was.

Without `--exit-on-error` pg_restore goes on behind what the server refuses. With `--verbose` it tells the number of
each entry that failed, in one write, so that several of its connections cannot mix up a number.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.model import DatabaseFacts, Setting, Table
from hiveden_backup.core.postgres.database_settings import values

_CAME_TO_ITS_END = re.compile(r"errors ignored on restore: (\d+)\s*\Z")
_ENTRY = re.compile(r"^(?:pg_restore:| |error: |warning: )*from TOC entry (\d+); \d+ \d+ ([^\n]*)", re.MULTILINE)
"""What is before it may be the beginning of another connection's line: only the rest comes in one write."""
_NO_OWNER = " owner)"
"""Of what has none, it says "(no owner)" where the owner is said else, which is left out here."""
_ERROR_LINE = re.compile(r"^(?:pg_restore: *)+error: ", re.MULTILINE)
_WARNING_LINE = re.compile(r"^pg_restore: warning: (?!errors ignored on restore)(.*)$", re.MULTILINE)
_VERBOSE_LINE = re.compile(r"pg_restore: (?!error: |warning: |hint: |detail: )")
_WORDS_END = re.compile(r"^(?:CONTEXT:|HINT:|QUERY:|LINE \d+:|Command was: |pg_restore: ?)", re.MULTILINE)
_WORDS_BEGIN = re.compile(r'(?:could not execute query: |COPY failed for table ".*?": )?(?:ERROR:\s*)?', re.DOTALL)
_DETAIL = re.compile(r"\s+DETAIL:\s+(.*)", re.DOTALL)
_DATA = "TABLE DATA "
_ROW = "Failing row contains"  # what somebody's row holds is nobody else's matter
_LISTED = re.compile(r"^(\d+); \d+ \d+ (.*)$", re.MULTILINE)
_REFRESH = "MATERIALIZED VIEW DATA "
_BEHIND_DATA = (
    "INDEX",
    "CONSTRAINT",
    "FK CONSTRAINT",
    "CHECK CONSTRAINT",
    "TRIGGER",
    "COMMENT",
    "ACL",
    _REFRESH.strip(),
)
_LONGEST_WORDS = 500

_LOST = re.compile(
    r'(?:could not execute query: |COPY failed for table "[^"]*": )?'
    r"(?:FATAL:|PANIC:|server closed the connection|no connection to the server|terminating connection|"
    r"could not (?:receive|send) data|SSL |lost synchronization)"
)
_EXHAUSTED = re.compile(r"(?:.*: )?(?:No space left on device|Disk quota exceeded)|out of (?:shared )?memory")
_EXISTS = re.compile(r"already exists")

_SET_SEARCH_PATH = b"SELECT pg_catalog.set_config('search_path', '', false);"
"""What a dump has pg_restore do before anything else, so that no name is found by chance."""
_RESET_SEARCH_PATH = b"RESET search_path;".ljust(len(_SET_SEARCH_PATH))
"""As long, since the length is written before it. pg_restore sets the same once more by itself, before this."""
_DEFAULT_PATH = '"$user", public'

# What a text, a moment or a number means, and so what a view, an index or a generated column makes of it.
_READ_BY_CONTENT = frozenset(
    {
        "array_nulls",
        "bytea_output",
        "datestyle",
        "default_text_search_config",
        "extra_float_digits",
        "intervalstyle",
        "lc_monetary",
        "lc_numeric",
        "lc_time",
        "timezone",
        "timezone_abbreviations",
        "xmlbinary",
        "xmloption",
    }
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that did not come back as it was: what it is, and what is said of it, by the server or by us."""

    what: str
    said: str

    def __str__(self) -> str:
        return f"{self.what}: {self.said}"


@dataclass(frozen=True, slots=True)
class Failure:
    """An entry of a dump that the server refused, by its number, and the server's words."""

    number: int
    what: str
    said: str


def came_to_its_end(said: str) -> bool:
    """Whether a pg_restore that failed had tried all of the dump: only then, what is missing is what it names."""
    return _CAME_TO_ITS_END.search(said) is not None


def connection_lost(said: str) -> str:
    """The words with which the server went away, "" if it did not."""
    return next((_words(text) for text in _errors(said) if _LOST.match(text)), "")


def exhausted(said: str) -> str:
    """The server's words when it ran out of room, which says nothing of the dump; "" if it did not."""
    return next((words for words in map(_primary, _errors(said)) if _EXHAUSTED.fullmatch(words)), "")


def primary(said: str) -> str:
    """The server's reasons, a line each, without their details: these quote what somebody's rows hold."""
    return "\n".join(map(_primary, _errors(said)))


def failures(said: str) -> tuple[Failure, ...]:
    """What the server refused, each entry once, in the order in which it was tried.

    Of several connections the words may be another failure's, the numbers are right.
    """
    found: dict[int, Failure] = {}
    starts = list(_ENTRY.finditer(said))
    ends = [*(match.start() for match in starts), len(said)][1:]
    for start, end in zip(starts, ends, strict=True):
        number, what = int(start[1]), start[2].removesuffix(_NO_OWNER).rpartition(" ")[0]
        words = next(map(_words, _errors(said[start.end() : end])), "")
        found.setdefault(number, Failure(number, what, words))
    return tuple(found.values())


def untold(said: str) -> int:
    """How many errors of one connection cannot be told any more, where only the end of what it said was kept."""
    ignored = _CAME_TO_ITS_END.search(said)
    return max(0, int(ignored[1]) - len(_ERROR_LINE.findall(said))) if ignored is not None else 0


def warnings(said: str) -> tuple[str, ...]:
    """What pg_restore warned of; and errors that belong to no entry, such as settings that an older server lacks."""
    first = _ENTRY.search(said)
    before = said[: first.start()] if first is not None else said
    errors = [f"pg_restore: error: {_words(text)}" for text in _errors(before)]
    return (*errors, *(f"pg_restore: warning: {line.strip()}" for line in _WARNING_LINE.findall(said)))


def spoken(said: str) -> str:
    """The same without what `--verbose` adds."""
    return "\n".join(line for line in said.split("\n") if not _VERBOSE_LINE.match(line))


def to_try_again(listing: str, failed: Iterable[Failure]) -> tuple[int, ...]:
    """The entries for the second try, in the dump's order; `listing` is what `pg_restore --list` says.

    When something that holds or makes data is tried again, materialized views are refreshed again: they may have been
    filled, without a word, from a table that was still empty.
    """
    numbers = {failure.number for failure in failed}
    data = any(not failure.what.startswith(_BEHIND_DATA) for failure in failed)
    return tuple(
        int(number)
        for number, what in _LISTED.findall(listing)
        if int(number) in numbers or (data and what.startswith(_REFRESH))
    )


def still_missing(first: Sequence[Failure], second: Sequence[Failure]) -> tuple[Difference, ...]:
    """What the second try did not bring either. A thing that is there by half says why the first time."""
    words: Mapping[int, str] = {failure.number: failure.said for failure in first}
    return tuple(
        Difference(each.what, words.get(each.number, each.said) if _EXISTS.search(each.said) else each.said)
        for each in second
    )


def brings_rows(failed: Iterable[Failure]) -> bool:
    """Whether the second try copies rows, which meet the triggers then: in a dump, these come after all rows."""
    return any(failure.what.startswith(_DATA) for failure in failed)


def steered(first: Sequence[Failure], second: Sequence[Failure]) -> tuple[Difference, ...]:
    """The tables whose rows came at the second try, where triggers may have changed them."""
    refused = {failure.number for failure in second}
    said = "Its rows came when the database's triggers were there, which may have changed them, or other tables"
    return tuple(
        Difference(each.what, said) for each in first if each.what.startswith(_DATA) and each.number not in refused
    )


def with_own_search_path(head: bytes) -> bytes:
    """The beginning of a decompressed dump, which leaves the search path that a session was started with."""
    return head.replace(_SET_SEARCH_PATH, _RESET_SEARCH_PATH, 1)


def search_path(facts: DatabaseFacts) -> str:
    """The search path that the database's own sessions had; its owner stands for whoever connects."""
    own = [setting for setting in facts.settings if setting.name == "search_path" and setting.value is not None]
    found = {setting.role: setting.value or "" for setting in own}
    stored = found.get(facts.owner) or found.get("") or _DEFAULT_PATH
    return ", ".join(_quoted(facts.owner if item == "$user" else item) for item in values("search_path", stored))


def read_by_content(setting: Setting) -> bool:
    """Whether what a database holds may depend on one of its settings, which has to be there before it then.

    All others (who a session is, how long it may last, whether it may write) only come when the content is there.
    """
    return "." in setting.name or setting.name.lower() in _READ_BY_CONTENT


def compared(
    expected: Sequence[Table], counted: Sequence[Table], members: frozenset[str]
) -> tuple[tuple[Difference, ...], tuple[str, ...]]:
    """How the rows that came back differ from those of the manifest; and warnings of what was not, or need not be, so.

    `members` are tables of extensions, whose rows are theirs.
    """
    then = {table.name: table.rows for table in expected}
    now = {table.name: table.rows for table in counted}
    differences, notes = [], []
    for name in sorted(then.keys() | now.keys()):
        said = _difference(then, now, name)
        if said and name in members:
            notes.append(f"{name} has {said}: it belongs to an extension")
        elif said:
            differences.append(Difference(name, said))
    uncounted = sorted(name for name, rows in then.items() if rows is None and name in now)
    if uncounted:
        notes.append(f"Not compared, since the backup does not say how many rows they had: {', '.join(uncounted)}")
    return tuple(differences), tuple(notes)


def _difference(then: Mapping[str, int | None], now: Mapping[str, int | None], name: str) -> str:
    if name in then and name in now and (then[name] is None or then[name] == now[name]):
        return ""
    return f"{_rows(now, name, 'cannot be')} instead of {_rows(then, name, 'were not')}"


def _rows(tables: Mapping[str, int | None], name: str, uncounted: str) -> str:
    if name not in tables:
        return "no table"
    rows = tables[name]
    return f"rows that {uncounted} counted" if rows is None else f"{rows} rows"


def _errors(said: str) -> Iterator[str]:
    """Each begins a line of its own: what a row holds may look like one, too."""
    return iter(_ERROR_LINE.split(said)[1:])


def _primary(message: str) -> str:
    text = _text(message)
    detail = _DETAIL.search(text)
    return " ".join(text[: detail.start() if detail is not None else None].split())


def _words(message: str) -> str:
    """What the server said, in one line, without the statement and without anybody's rows."""
    text = _text(message)
    detail = _DETAIL.search(text)
    if detail is not None:
        text = text[: detail.start()] + ("" if detail[1].startswith(_ROW) else f" ({detail[1].strip()})")
    return " ".join(text.split())[:_LONGEST_WORDS]


def _text(message: str) -> str:
    begin = _WORDS_BEGIN.match(message)
    end = _WORDS_END.search(message)
    return message[begin.end() if begin is not None else 0 : end.start() if end is not None else None]


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'

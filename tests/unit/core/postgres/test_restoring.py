"""What pg_restore said, read; what is tried again; how rows and settings count."""

import pytest

from hiveden_backup.core.model import DatabaseFacts, Setting, Table
from hiveden_backup.core.postgres import restoring
from hiveden_backup.core.postgres.restoring import Difference, Failure

SAID = """\
pg_restore: connecting to database for restore
pg_restore: creating TABLE "public.archive"
pg_restore: while PROCESSING TOC:
pg_restore: from TOC entry 3452; 0 16511 TABLE DATA aa postgres
pg_restore: error: COPY failed for table "aa": ERROR:  new row for relation "aa" violates check constraint "c"
DETAIL:  Failing row contains (hunter2).
CONTEXT:  COPY aa, line 1: "hunter2"
pg_restore: creating INDEX "public.near"
pg_restore: from TOC entry 3303; 2606 16502 FK CONSTRAINT child child_id_fkey some one
pg_restore: error: could not execute query: ERROR:  it violates foreign key constraint
DETAIL:  Key (id)=(2) is not present in table "parent".
Command was: ALTER TABLE ONLY public.child
    ADD CONSTRAINT child_id_fkey FOREIGN KEY (id) REFERENCES public.parent(id);


pg_restore: warning: errors ignored on restore: 2
"""
LISTING = """\
;
; Selected TOC Entries:
;
220; 1259 16511 TABLE public aa postgres
3452; 0 16511 TABLE DATA public aa postgres
3303; 2606 16502 FK CONSTRAINT public child child_id_fkey postgres
3453; 0 16515 MATERIALIZED VIEW DATA public mv postgres
"""


def test_what_failed_is_read_with_the_servers_words_and_nobodys_rows() -> None:
    assert restoring.came_to_its_end(SAID)
    assert restoring.failures(SAID) == (
        Failure(3452, "TABLE DATA aa", 'new row for relation "aa" violates check constraint "c"'),
        Failure(
            3303,
            "FK CONSTRAINT child child_id_fkey some",
            'it violates foreign key constraint (Key (id)=(2) is not present in table "parent".)',
        ),
    )
    assert restoring.untold(SAID) == 0
    assert "archive" not in restoring.spoken(SAID)
    assert restoring.connection_lost(SAID) == restoring.exhausted(SAID) == ""


def test_what_has_no_owner() -> None:
    said = "pg_restore: from TOC entry 2; 3079 1 EXTENSION pg_cron (no owner)\npg_restore: error: no\n"
    assert restoring.failures(said) == (Failure(2, "EXTENSION pg_cron", "no"),)


def test_numbers_are_right_where_connections_speak_at_the_same_time() -> None:
    mixed = (
        "pg_restore:pg_restore: from TOC entry 1; 0 1 INDEX a b\n from TOC entry 2; 0 1 INDEX c d\n"
        "pg_restore: error: could not execute query: ERROR:  x\n error: could not execute query: ERROR:  y\n"
        "pg_restore: warning: errors ignored on restore: 4\n"
    )
    assert [each.number for each in restoring.failures(mixed)] == [1, 2]


def test_what_did_not_come_to_its_end_is_no_list_of_what_is_missing() -> None:
    assert not restoring.came_to_its_end("pg_restore: error: could not read from input file: end of file\n")
    assert not restoring.came_to_its_end(f"{SAID}pg_restore: error: it went on\n")


def test_only_the_end_of_it_was_kept() -> None:
    assert restoring.untold(SAID[SAID.index("CONTEXT") :]) == 1


def test_errors_of_no_entry_are_warnings() -> None:
    said = (
        'pg_restore: error: could not execute query: ERROR:  unrecognized configuration parameter "transaction_timeout"'
        "\nCommand was: SET transaction_timeout = 0;\npg_restore: warning: errors ignored on restore: 1\n"
    )
    assert restoring.failures(said) == ()
    assert restoring.warnings(said) == (
        'pg_restore: error: unrecognized configuration parameter "transaction_timeout"',
    )


@pytest.mark.parametrize(
    "words",
    [
        "FATAL: terminating connection due to administrator command",
        "server closed the connection unexpectedly",
        "no connection to the server",
    ],
)
def test_a_connection_that_is_lost(words: str) -> None:
    assert restoring.connection_lost(SAID + f"pg_restore: error: could not execute query: {words}\n") == words


def test_a_server_that_has_no_room() -> None:
    words = 'could not extend file "base/1/2": No space left on device'
    said = SAID + f"pg_restore: error: could not execute query: ERROR:  {words}\nHINT:  Check free disk space.\n"
    assert restoring.exhausted(said) == words


@pytest.mark.parametrize(
    "row",
    [
        "error: FATAL: x",
        "No space left on device",
        "x: No space left on device",
        'x": FATAL:',
        "out of memory",
        "from TOC entry 7; 0 1 TABLE x y",
    ],
)
def test_what_a_row_holds_steers_nothing(row: str) -> None:
    """In a key, in a row, and in a message that quotes it."""
    said = SAID.replace("(id)=(2)", f"(id)=({row})").replace("hunter2", row)
    said = said.replace('violates check constraint "c"', f'violates: "{row}"')
    assert [each.number for each in restoring.failures(said)] == [3452, 3303]
    assert restoring.connection_lost(said) == restoring.exhausted(said) == ""


def test_reasons_without_their_details() -> None:
    said = SAID.replace("(id)=(2)", '(id)=(role "x" does not exist)')
    assert restoring.primary(said) == (
        'new row for relation "aa" violates check constraint "c"\nit violates foreign key constraint'
    )


def test_rows_that_met_triggers() -> None:
    data, key = restoring.failures(SAID)
    assert not restoring.brings_rows([key])
    assert restoring.brings_rows([key, data])
    assert [each.what for each in restoring.steered([data, key], [key])] == ["TABLE DATA aa"]
    assert restoring.steered([data, key], [data]) == (), "it is not there at all"


def test_views_are_refreshed_again_when_data_is_tried_again() -> None:
    data, key = restoring.failures(SAID)
    assert restoring.to_try_again(LISTING, [key]) == (3303,)
    assert restoring.to_try_again(LISTING, [key, data]) == (3452, 3303, 3453)


def test_what_is_there_by_half_says_why() -> None:
    first = [Failure(1, "TABLE t", "it cannot be owned")]
    again = [Failure(1, "TABLE t", 'relation "t" already exists'), Failure(2, "INDEX i", "no")]
    assert restoring.still_missing(first, again) == (
        Difference("TABLE t", "it cannot be owned"),
        Difference("INDEX i", "no"),
    )


def test_search_path_of_the_source() -> None:
    def path(*settings: Setting) -> str:
        return restoring.search_path(DatabaseFacts("15.1", "UTF8", "C", "C", "libc", "", "anna", settings=settings))

    assert path() == '"anna", "public"'
    assert (
        path(
            Setting(
                "",
                "search_path",
                'lib, "odd ""one"',
            )
        )
        == '"lib", "odd ""one"'
    )
    assert path(Setting("bob", "search_path", "his"), Setting("", "search_path", "all")) == '"all"'
    assert path(Setting("anna", "search_path", "hers"), Setting("", "search_path", "all")) == '"hers"'


def test_a_dump_keeps_its_length() -> None:
    head = b"\x37\x00SELECT pg_catalog.set_config('search_path', '', false);\n"
    changed = restoring.with_own_search_path(head * 2)
    assert len(changed) == 2 * len(head)
    assert changed.startswith(b"\x37\x00RESET search_path; ")
    assert changed.endswith(head)


@pytest.mark.parametrize(
    ("name", "before"),
    [("TimeZone", True), ("app.key", True), ("role", False), ("search_path", False), ("statement_timeout", False)],
)
def test_which_settings_come_before_the_content(name: str, *, before: bool) -> None:
    assert restoring.read_by_content(Setting("", name, "x")) is before


def test_rows_compared() -> None:
    then = (Table("a", 1), Table("b", 2), Table("c", None), Table("d", 4), Table("e", 5), Table("gone", None))
    now = (Table("a", 1), Table("b", 3), Table("c", 7), Table("d", None), Table("e", 6), Table("new", 1))
    assert restoring.compared(then, now, frozenset({"e"})) == (
        (
            Difference("b", "3 rows instead of 2 rows"),
            Difference("d", "rows that cannot be counted instead of 4 rows"),
            Difference("gone", "no table instead of rows that were not counted"),
            Difference("new", "1 rows instead of no table"),
        ),
        (
            "e has 6 rows instead of 5 rows: it belongs to an extension",
            "Not compared, since the backup does not say how many rows they had: c",
        ),
    )

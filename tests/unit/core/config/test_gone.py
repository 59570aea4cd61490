"""Keys that older versions knew."""

from hiveden_backup.core.config.gone import leftovers, without_leftovers

TABLE = {
    "directory": "/srv/backups",
    "max_archives": 1,
    "jobs": {"a": {"paths": ["/a"], "max_archives": 2}, "b": {"max_archives": 3}, "c": {"paths": ["/c"]}, "max": 4},
}


def test_what_is_left_over_is_found_in_jobs_alone() -> None:
    assert leftovers(TABLE) == {("jobs", "a", "max_archives"): 2, ("jobs", "b", "max_archives"): 3}
    assert leftovers({}) == leftovers({"jobs": 1}) == {}


def test_it_is_taken_out_and_a_table_that_is_empty_then() -> None:
    assert without_leftovers(TABLE) == {
        "directory": "/srv/backups",
        "max_archives": 1,
        "jobs": {"a": {"paths": ["/a"]}, "c": {"paths": ["/c"]}, "max": 4},
    }
    assert without_leftovers({"jobs": {"b": {"max_archives": 3}}}) == {}

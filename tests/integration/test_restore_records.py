"""What in-place restores and undos leave, like a run."""

import json
from pathlib import Path

from tests.support.program import Program


def test_what_is_done_by_hand_leaves_a_record(tmp_path: Path) -> None:
    """Like a run's, but never taken for one: the status is that of the runs."""
    program = Program(tmp_path)

    def records() -> list[tuple[str, ...]]:
        found = [json.loads(path.read_text()) for path in sorted((program.place / "state/runs/files").iterdir())]
        return [(each.get("kind", "run"), each["result"], str(each["backup"]), each["error"]) for each in found]

    (program.tree / "file").write_text("one")
    backup = program.run()
    before = program.ok("status", "--json")
    program.ok("restore", f"files/{backup}", "--in-place", "--yes")
    program.ok("undo", "files", "--yes")
    assert program.call("undo", "files", "--yes").returncode == 66
    (run, restored, undone, refused) = records()
    assert run[:3] == ("run", "success", backup)
    assert restored == ("restore", "success", backup, "")
    assert undone == ("undo", "success", backup, "")
    assert refused[:3] == ("undo", "failed", "None")
    assert "no in-place restore of files to undo" in refused[3]
    after = json.loads(program.ok("status", "--json"))[0]
    assert {**after, "age_seconds": 0} == {**json.loads(before)[0], "age_seconds": 0}

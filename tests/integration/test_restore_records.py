"""What in-place restores and undos leave: a record like a run's, and what they keep until its time is over."""

import json
import subprocess
import time
from pathlib import Path

from tests.support.holders import holders
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


def test_what_cannot_be_removed_when_its_time_is_over_is_in_status(tmp_path: Path) -> None:
    program = Program(tmp_path, settings='undo_keep = "1s"')

    def attention() -> list[str]:
        rows = json.loads(program.call("status", "--json").stdout)
        found: list[str] = rows[0]["attention"]
        return found

    (program.tree / "file").write_text("one")
    backup = program.run()
    program.ok("restore", f"files/{backup}", "--in-place", "--yes")
    (holder,) = holders(tmp_path)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(holder / "old")], check=True)
    try:
        time.sleep(1.1)
        assert attention() == [], "it is only over, and nobody has tried"
        program.ok("prune")
        (reason,) = attention()
        assert program.call("status").returncode == 1
        assert all(word in reason for word in (backup, str(holder), f"umount {holder / 'old'}"))
    finally:
        subprocess.run(["umount", str(holder / "old")], check=True)
    program.ok("prune")
    assert not holder.exists()
    assert attention() == []

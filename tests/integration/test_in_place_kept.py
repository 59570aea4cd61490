"""What an in-place restore keeps, while it is being removed."""

import os
import subprocess
from pathlib import Path

from tests.integration.test_in_place import restore
from tests.support.holders import holders
from tests.support.program import Program
from tests.support.storm import describe


def test_what_is_removed_in_part_is_never_put_back(tmp_path: Path) -> None:
    """Half of what was there would come back; so it goes on being removed, and nothing else."""
    program = Program(tmp_path)
    for number in range(8):
        (program.tree / f"file-{number}").write_text("now")
    backup = program.run()
    (program.tree / "more").write_text("now")
    restore(program, backup)
    (holder,) = holders(program.place)
    last = [entry.path for entry in os.scandir(holder / "old/0")][-1]
    restored = describe(program.tree)
    text = program.config.read_text()
    program.config.write_text(text.replace("[jobs.files]", '[jobs.files]\nundo_keep = "1us"'))
    subprocess.run(["chattr", "+i", last], check=True)
    try:
        program.ok("prune")
        assert os.listdir(holder / "old/0") == [os.path.basename(last)]
        for keep in ("1us", "7d"):  # what has gone does not come back when it is to be kept for longer
            program.config.write_text(text.replace("[jobs.files]", f'[jobs.files]\nundo_keep = "{keep}"'))
            for options in ((), ("--yes",)):
                done = program.call("undo", "files", *options)
                assert done.returncode == 66, done.stderr
                assert "cannot be undone any more" in done.stderr
        assert describe(program.tree) == restored
        assert os.path.basename(last) in program.call("status").stdout
    finally:
        subprocess.run(["chattr", "-i", last], check=True)
    program.ok("prune")
    assert holders(program.place) == []
    assert describe(program.tree) == restored
    assert list((program.place / "state/undo/files").iterdir()) == []

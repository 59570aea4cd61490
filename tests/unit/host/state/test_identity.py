"""Which host this is: an id that is made once, whoever asks first."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hiveden_backup.core.model import Owner
from hiveden_backup.host.state.identity import this_host


def test_of_several_that_ask_at_once_all_are_told_the_same(tmp_path: Path) -> None:
    """As a first push does, to several offsites."""
    together = threading.Barrier(4)

    def ask(state: Path) -> Owner:
        together.wait()
        return this_host(state)

    with ThreadPoolExecutor(4) as pool:
        for number in range(50):
            state = tmp_path / str(number)
            assert len(set(pool.map(ask, [state] * 4))) == 1
            assert [path.name for path in state.iterdir()] == ["host.json"]

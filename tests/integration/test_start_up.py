"""How quickly a command is there: the seconds of the processor that a whole one takes, whoever else runs beside it."""

from pathlib import Path

import pytest

from tests.bench.bed import Bed
from tests.bench.start import COMMANDS, processor_seconds, small_site

BOUNDS = {"--version": 0.15, "list": 0.3, "status": 0.3, "run, unchanged": 0.9}
"""Two and a half times what each may take on an idle machine: what creeps in is seen, what else runs there is not."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Bed:
    place: Path = tmp_path_factory.mktemp("start")
    return small_site(place)


@pytest.mark.parametrize("command", COMMANDS)
def test_starts_quickly(site: Bed, command: str) -> None:
    assert processor_seconds(site, COMMANDS[command], 5)[0] < BOUNDS[command]

"""What a backup says of volumes: all that a new one needs, but no secret."""

import pytest

from hiveden_backup.core.docker.containers import Volume
from hiveden_backup.core.docker.volumes import recorded, usable

LABELS = {"com.docker.compose.project": "shop", "com.docker.compose.volume": "data"}


@pytest.mark.parametrize(
    ("options", "written", "missing"),
    [
        ({}, {}, ()),
        ({"type": "tmpfs", "o": "size=100m,uid=1000"}, {"type": "tmpfs", "o": "size=100m,uid=1000"}, ()),
        ({"o": "username=me,password=a=b,vers=3"}, {"o": "username=me,password=***,vers=3"}, ("password",)),
        ({"o": "pass=a,,b,vers=3"}, {"o": "pass=***,vers=3"}, ("pass",)),
        ({"o": "vers=3,,password=x"}, {"o": "vers=3,,password=***"}, ("password",)),
        ({"o": "PassWd=x"}, {"o": "PassWd=***"}, ("PassWd",)),
        ({"api-token": "x,y"}, {"api-token": "***"}, ("api-token",)),
    ],
)
def test_options(options: dict[str, str], written: dict[str, str], missing: tuple[str, ...]) -> None:
    volume = recorded(Volume("v", "/v", "local", options, LABELS))
    assert (volume.name, volume.labels, volume.options) == ("v", LABELS, written)
    again, left_out = usable(volume.options)
    assert left_out == missing
    assert "***" not in str(again)
    if not missing:
        assert again == options
    assert usable(volume.labels) == (LABELS, ())


def test_what_is_no_secret_is_used_again() -> None:
    assert usable({"o": "username=me,password=***,vers=3"}) == ({"o": "username=me,vers=3"}, ("password",))

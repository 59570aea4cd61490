"""Time spans agree with systemd's own reading of them, and survive being written and read again."""

import math
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveden_backup.core import spans

ACCEPTED = {
    "0": 0.0,
    "90": 90.0,
    "1.5": 1.5,
    ".5": 0.5,
    "+5": 5.0,
    "500ms": 0.5,
    "500 msec": 0.5,
    "7us": 0.000007,
    "7usec": 0.000007,
    "7µs": 0.000007,
    "7μs": 0.000007,
    "30s": 30.0,
    "30sec": 30.0,
    "1 second": 1.0,
    "2 seconds": 2.0,
    "10m": 600.0,
    "10min": 600.0,
    "1 minute": 60.0,
    "2minutes": 120.0,
    "1h": 3600.0,
    "48hr": 172800.0,
    "1hour": 3600.0,
    "2 hours": 7200.0,
    "1h 30min": 5400.0,
    "1h30m": 5400.0,
    "1.5h": 5400.0,
    "7d": 604800.0,
    "1day": 86400.0,
    "2 days": 172800.0,
    "1w": 604800.0,
    "1week": 604800.0,
    "2weeks": 1209600.0,
    "1M": 2629800.0,
    "1month": 2629800.0,
    "2months": 5259600.0,
    "1y": 31557600.0,
    "1year": 31557600.0,
    "1y 12month": 63115200.0,
    "2years": 63115200.0,
    "55s500ms": 55.5,
    "300ms20s 5day": 432020.3,
    "5 5": 10.0,
    "12 .5": 12.5,
    " \t 3 \n": 3.0,
    "0.0000019": 0.000001,
    "00000000000000000000000000000000007": 7.0,
}

REFUSED = {
    "": "it is empty",
    " ": "it is empty",
    "-5": "it is negative",
    "5s -1s": "it is negative",
    "-0": "it is negative",
    "x": "it is no span of time",
    "5x": "it is no span of time",
    "5 x": "it is no span of time",
    "5.": "it is no span of time",
    "5.s": "it is no span of time",
    ".": "it is no span of time",
    "1.2.3": "it is no span of time",
    "5mon": "it is no span of time",
    "5H": "it is no span of time",
    "infinity 5": "it is no span of time",
    "five": "it is no span of time",
    "٣": "it is no span of time",
    "30 2 * * *": "it is no span of time",
    "18446744073709551615us": "it is too long",
    "9223372036854775808us": "it is too long",
    "584543y": "it is too long",
    "9" * 5000: "it is too long",
}


@pytest.mark.parametrize(("text", "seconds"), ACCEPTED.items())
def test_a_span_has_its_value(text: str, seconds: float) -> None:
    assert spans.parse(text) == seconds


@pytest.mark.parametrize(("text", "reason"), REFUSED.items())
def test_what_is_no_span_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        spans.parse(text)


def test_infinity_is_infinite() -> None:
    assert math.isinf(spans.parse(" infinity "))


def test_systemd_reads_the_same_values() -> None:
    done = subprocess.run(
        ["systemd-analyze", "timespan", "--", *ACCEPTED], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    lines = [line.split(":")[1] for line in done.stdout.splitlines() if line.strip().startswith(("μs:", "us:"))]
    assert [int(line) for line in lines] == [round(spans.parse(text) * 1_000_000) for text in ACCEPTED]


@pytest.mark.parametrize("text", [text for text in REFUSED if text.strip()])
def test_systemd_refuses_the_same(text: str) -> None:
    done = subprocess.run(["systemd-analyze", "timespan", "--", text], capture_output=True, check=False)
    assert done.returncode != 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0"),
        (30.0, "30s"),
        (600.0, "10min"),
        (5400.0, "1h 30min"),
        (604800.0, "7d"),
        (0.5, "500ms"),
        (1.000001, "1s 1us"),
        (86400.0 * 400, "400d"),
    ],
)
def test_a_span_is_written_in_units(seconds: float, text: str) -> None:
    assert spans.text(seconds) == text


@given(st.integers(0, 2**63 - 1))
def test_what_was_read_is_written_so_that_it_reads_the_same(microseconds: int) -> None:
    seconds = spans.parse(f"{microseconds}us")
    assert spans.parse(spans.text(seconds)) == seconds
    assert spans.rounded(seconds) == seconds


@given(st.floats(0, 1e12))
def test_rounding_gives_what_writing_keeps(seconds: float) -> None:
    assert spans.parse(spans.text(seconds)) == spans.rounded(seconds)
    assert abs(spans.rounded(seconds) - seconds) <= max(1e-6, seconds * 1e-12)


@pytest.mark.parametrize("seconds", [-1.0, math.inf, math.nan])
def test_what_is_no_span_cannot_be_written(seconds: float) -> None:
    with pytest.raises(ValueError, match="not a span of time"):
        spans.text(seconds)


def refusal(text: str) -> str:
    """Why the text is refused; "" when it is not."""
    try:
        spans.parse(text)
    except ValueError as error:
        return str(error)
    return ""


@given(st.text())
def test_any_text_is_a_span_or_refused_in_our_words(text: str) -> None:
    reason = refusal(text)
    assert not reason or reason.startswith("it is ")

"""What README.md says of speed is what was measured: its table and chart are those of `tests/bench/results.json`."""

import pytest

from tests.bench import report
from tests.bench.bed import ROOT, Spent
from tests.bench.results import OURS, Results, load

MEASURED = load(report.JSON.read_text())


def results() -> Results:
    found = Results("2026-11-27", {**MEASURED.machine}, {OURS: "1.0", "restic": "0.19.1"}, ["borg (not found)"])
    for ours, stock, theirs in ((1.0, 2.0, 4.0), (2.0, 2.0, 4.0), (3.0, 2.0, 4.0)):
        found.add("first run (3 files)", "tar | zstd -T0; sync", Spent(stock, stock))
        found.add("first run (3 files)", OURS, Spent(ours, 2 * ours))
        found.add("first run (3 files)", "restic", Spent(theirs, theirs))
        found.add("list, 3 backups", OURS, Spent(ours, ours))
    found.facts["memory"] = "30 MiB"
    return found


def test_readme_has_the_figures_that_were_measured() -> None:
    told = report.README.read_text()
    assert told == report.with_readme(told, MEASURED), "python -m tests.bench.report"


def test_chart_is_of_what_was_measured() -> None:
    assert report.SVG.read_text() == report.svg(MEASURED), "python -m tests.bench.report"
    assert f"({report.SVG.relative_to(ROOT)})" in report.README.read_text()


@pytest.mark.parametrize("write", [report.table, report.readme])
def test_what_was_not_measured_is_said(write: object) -> None:
    assert callable(write)
    assert "Not measured: borg (not found)" in write(results())


def test_ratios_are_of_one_round_each() -> None:
    found = results()
    assert found.ratios("first run (3 files)", "restic", "wall") == [0.25, 0.5, 0.75]
    assert "0.50 (0.25 to 0.75)" in report.table(found)
    stock = "2.00 (2.00), 1.00 × (0.50 to 1.50) `tar \\| zstd -T0; sync`"  # noqa: RUF001
    assert f"| first run (3 files) | **2.00 (4.00)** | {stock} |" in report.readme(found)
    assert "| list, 3 backups | **2.00 (2.00)** |" in report.readme(found)


def test_chart_has_a_bar_for_each() -> None:
    chart = report.svg(results())
    assert chart.count("<rect") == 3
    assert "tar | zstd -T0; sync" in chart
    assert "prefers-color-scheme:dark" in chart


def test_results_are_read_as_they_were_written() -> None:
    assert load(results().dump()) == results()

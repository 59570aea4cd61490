"""The figures of a bench as people read them: a table for a terminal, one for README.md, and a chart.

python -m tests.bench.report    writes README.md's table and the chart anew, from `tests/bench/results.json`
"""

import textwrap
from collections.abc import Sequence
from html import escape
from pathlib import Path

from tests.bench.bed import ROOT
from tests.bench.results import OURS, Results, load, median

HERE = Path(__file__).parent
JSON = HERE / "results.json"
SVG = HERE / "results.svg"
README = ROOT / "README.md"
BEGIN = "<!-- measured: by tests/bench/report.py, from tests/bench/results.json -->\n"
END = "<!-- end of what was measured -->\n"
_CHARTED = ("first run", "nothing changed", "1 % changed", "restore of everything")
_BAR = 14
_WIDTH, _LEFT, _RIGHT = 720, 150, 110


def table(results: Results) -> str:
    """Every figure: seconds by the clock and of the processor, and what ours took of the others', round by round."""
    lines = [*textwrap.wrap(_about(results), 118, break_on_hyphens=False), ""]
    lines += [f"Not measured: {name}" for name in results.missing]
    head = f"{'':22}{'wall s: min, median, max':>27}{'cpu s: median':>15}{'wall: ours / it':>22}{'cpu: ours / it':>22}"
    for what, by in results.figures.items():
        lines += ["", f"{what:22}", head]
        for who, kinds in by.items():
            wall, cpu = sorted(kinds["wall"]), median(kinds["cpu"])
            spread = f"{wall[0]:9.2f}{median(wall):9.2f}{wall[-1]:9.2f}{cpu:15.2f}"
            known = [kind for kind in kinds if who != OURS and any(kinds[kind])]  # not the processor of a downtime
            ratios = "".join(f"{_spread(results.ratios(what, who, kind)):>22}" for kind in known)
            lines.append(f"  {who:20}{spread}{ratios}")
    lines += ["", *(f"{what}: {fact}" for what, fact in results.facts.items())]
    return "\n".join(lines) + "\n"


def readme(results: Results) -> str:
    """What README.md says of it, between BEGIN and END."""
    peers = [who for who in dict.fromkeys(who for by in results.figures.values() for who in by) if who != OURS]
    several = [what for what, by in results.figures.items() if len(by) > 1]
    alone = [what for what, by in results.figures.items() if len(by) == 1]
    stock = [who for who in peers if who not in results.versions]
    known = [who for who in peers if who in results.versions]
    said = (
        f"{_about(results)} Medians of rounds in turn; × is what {OURS} took of the other's time by the clock, "  # noqa: RUF001
        "with the lowest and the highest round."
    )
    lines = [*textwrap.wrap(said, 118, break_on_hyphens=False), ""]
    lines += [f"Not measured: {name}." for name in results.missing]
    lines += [
        f"| seconds (of the processor) | {OURS} | stock tools | {' | '.join(known)} |",
        "|---" * (3 + len(known)) + "|",
    ]
    for what in several:
        found = next((who for who in stock if who in results.figures[what]), "")
        plain = f"{_cell(results, what, found)} `{found}`".replace("|", "\\|") if found else ""
        lines.append(
            f"| {what} | {_cell(results, what, OURS)} | {plain} | "
            f"{' | '.join(_cell(results, what, who) for who in known)} |".replace("|  |", "| |")
        )
    lines += ["", "| | seconds (of the processor) |", "|---|---|"]
    lines += [f"| {what} | {_cell(results, what, OURS)} |" for what in alone]
    lines += [f"| {what} | {fact} |" for what, fact in results.facts.items()]
    return "\n".join([*lines, "", ""])


def svg(results: Results) -> str:
    """Bars of seconds by the clock, readable on light and on dark ground."""
    parts, at = [], 10
    for what, by in results.figures.items():
        if not what.startswith(_CHARTED):
            continue
        at += 22
        parts.append(f'<text class="what" x="8" y="{at}">{escape(what)}</text>')
        longest = max(median(kinds["wall"]) for kinds in by.values())
        for who in [OURS, *(who for who in by if who != OURS)]:
            seconds = median(by[who]["wall"])
            at += _BAR + 6
            length = max(1, round((_WIDTH - _LEFT - _RIGHT) * seconds / longest))
            kind = "ours" if who == OURS else "other"
            parts.append(f'<text x="{_LEFT - 8}" y="{at}" text-anchor="end">{escape(who)}</text>')
            parts.append(
                f'<rect class="{kind}" x="{_LEFT}" y="{at - _BAR + 3}" width="{length}" height="{_BAR}" rx="2"/>'
            )
            parts.append(f'<text x="{_LEFT + length + 6}" y="{at}">{_number(seconds)} s</text>')
    style = (  # the first colours can be read on either ground, where a page is dark and the system is not
        "text{font:13px sans-serif;fill:#6e7781}.what{font-weight:bold}.ours{fill:#2a9d74}.other{fill:#9aa4ae}"
        "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ours{fill:#3fb68b}.other{fill:#6e7781}}"
    )
    height = at + 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'role="img" aria-label="Seconds of runs and restores, by program">\n<style>{style}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def with_readme(text: str, results: Results) -> str:
    """README.md with the table of these results."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + readme(results) + END + rest.split(END)[1]


def _about(results: Results) -> str:
    about, versions = results.machine, ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        f"Measured on {results.made}: {about['cores']} cores ({about['processor']}), {about['memory']} of memory, "
        f"{about['disk']}, {about['system']}, Linux {about['kernel']}; {versions}."
    )


def _cell(results: Results, what: str, who: str) -> str:
    kinds = results.figures[what].get(who)
    if kinds is None:
        return ""
    wall, cpu = median(kinds["wall"]), median(kinds["cpu"])
    text = _number(wall) + (f" ({_number(cpu)})" if cpu else "")
    if who == OURS:
        return f"**{text}**"
    ratios = results.ratios(what, who, "wall")
    return f"{text}, {median(ratios):.2f} × ({min(ratios):.2f} to {max(ratios):.2f})"  # noqa: RUF001 - as people write it


def _spread(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def _number(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}"


def main() -> None:
    results = load(JSON.read_text())
    SVG.write_text(svg(results))
    README.write_text(with_readme(README.read_text(), results))


if __name__ == "__main__":
    main()

"""What probably happened where a file is no TOML: the common slips, told from the line that the parser stopped at."""

import re

_PLACE = re.compile(r"\(at line (\d+), column \d+\)")
_END = "A closing ], } or quotation mark is missing"
_SLIPS = (
    ("[“”„‘’«»]", 'Write straight quotation marks: "'),  # noqa: RUF001 - those that word processors make
    (r'"[^"]*\\', r"""In "..." a \ begins an escape: write \\, or put the text into '...'"""),
    (
        r"""^\s*[\w."'-]+\s*=\s*\[?\s*(?!true\b|false\b|inf\b|nan\b)[A-Za-z~/*.$]""",
        'Text needs quotation marks: key = "text"',
    ),
    (r"""^[^"]*"([^"]*"[^"]*")*[^"]*$|^[^']*'([^']*'[^']*')*[^']*$""", "A quotation mark is missing"),
    (r"^\s*[\w.-]+\s*:", "Write = between a key and its value, not a colon"),
)


def advice(text: str, error: str) -> str:
    """A hint for a file with this text, of which the parser said `error`; "" when nothing is known better."""
    place = _PLACE.search(error)
    if place is None:
        return _END if "end of document" in error else ""
    line = text.split("\n")[int(place[1]) - 1]
    return next((hint for slip, hint in _SLIPS if re.search(slip, line) is not None), "")

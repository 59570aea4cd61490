"""Sizes as people read and write them."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP = 1024
_SHORT = 100


def text(count: int) -> str:
    """Bytes for people: `1.2 GiB`."""
    value = float(count)
    for unit in _UNITS:
        if value < _STEP or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" or value >= _SHORT else f"{value:.1f} {unit}"
        value /= _STEP
    raise AssertionError


_DIGITS = 15


def parse(text: str) -> int:
    """The bytes that "128MiB", "1 GiB" or "4096" stands for. ValueError with the reason."""
    number = text.rstrip("BKMGTPi").rstrip(" ")
    unit = text[len(number) :].strip(" ") or "B"
    if unit not in _UNITS or not (number.isascii() and number.isdecimal()):
        raise ValueError("it is no size")
    if len(number) > _DIGITS:
        raise ValueError("it is too large")
    return int(number) << 10 * _UNITS.index(unit)


def exact(count: int) -> str:
    """Bytes as a configuration has them: `parse` gives the same back."""
    unit = 0
    while count and not count % _STEP and unit < len(_UNITS) - 1:
        count, unit = count // _STEP, unit + 1
    return f"{count}{_UNITS[unit]}"

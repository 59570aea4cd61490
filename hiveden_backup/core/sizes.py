"""Sizes as people read them."""

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

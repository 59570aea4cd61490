"""Paths as texts: how two of them lie to each other, and how long ones are shown."""

_END = 150


def inside(inner: str, outer: str) -> bool:
    """Whether the normalized absolute path `inner` is `outer` or lies below it, by its letters alone."""
    return inner == outer or inner.startswith(f"{outer.rstrip('/')}/")


def shortened(text: str) -> str:
    """A path, or a message that has one, with its middle left out where it would fill a page."""
    return text if len(text) <= 2 * _END else f"{text[:_END]}[...]{text[-_END:]}"

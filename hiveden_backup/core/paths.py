"""Paths as texts: how two of them lie to each other."""


def inside(inner: str, outer: str) -> bool:
    """Whether the normalized absolute path `inner` is `outer` or lies below it, by its letters alone."""
    return inner == outer or inner.startswith(f"{outer.rstrip('/')}/")

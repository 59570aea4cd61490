"""Texts that others wrote, as lines."""


def split_lines(text: str) -> list[str]:
    r"""The lines of `text`, which end at \n and nowhere else.

    `str.splitlines` breaks a line at ten further characters too, all of which may be in a file's name or a message.
    """
    found = text.split("\n")
    return found if found[-1] else found[:-1]

"""Texts as a person may see them: names and messages of others drive no terminal, and begin no line of their own."""


def printable(text: str) -> str:
    r"""`text` as one line: control characters, other ends of lines, marks that turn text around, odd bytes as `\x1b`.

    What is printable stays, a backslash too; so a text that went through it goes through it again unchanged.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_lines(text: str) -> str:
    r"""As `printable`, for a text whose own line breaks (\n) stand."""
    return "\n".join(printable(line) for line in text.split("\n"))

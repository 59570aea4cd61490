"""Where the content of a backup lies: on this machine, at an offsite, or nowhere."""

from collections.abc import Collection, Iterable
from enum import StrEnum


class Place(StrEnum):
    """Where something lies. `there` is what lies at an offsite alone, `lost` what lies nowhere."""

    HERE = "here"
    THERE = "there"
    BOTH = "both"
    LOST = "lost"


def place(*, here: bool, there: bool) -> Place:
    """Of one archive, or file."""
    if here:
        return Place.BOTH if there else Place.HERE
    return Place.THERE if there else Place.LOST


def of_backup(needs: Iterable[str], here: Collection[str], there: Collection[str], *, copied: bool) -> Place:
    """Of a backup, by the archives that it needs, and those that are here and there; whether it is `copied` there."""
    places = {place(here=name in here, there=name in there) for name in needs}
    if Place.LOST in places:
        return Place.LOST
    if Place.THERE in places:
        return Place.THERE
    return Place.BOTH if copied else Place.HERE

"""Whether a file of time-zone rules (RFC 8536) is all there. Python's reader seeks the end of a cut one for ever."""

import struct

_MAGIC = b"TZif"
_HEADER = 44


def is_whole(data: bytes) -> bool:
    """Whether `data` is as long as its headers say, and ends as it must."""
    at = 0
    for width in (4, 8):  # the bytes of a moment in the first block, and in the second one
        header = data[at : at + _HEADER]
        if len(header) < _HEADER or not header.startswith(_MAGIC):
            return False
        counts: tuple[int, int, int, int, int, int] = struct.unpack(">6L", header[20:])
        ut, standard, leaps, moments, types, letters = counts
        at += _HEADER + moments * (width + 1) + types * 6 + letters + leaps * (width + 4) + standard + ut
        if header[4:5] == b"\0":  # the first version has no second block
            return at <= len(data)
    return data[at : at + 1] == b"\n" and b"\n" in data[at + 1 :]

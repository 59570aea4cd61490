"""A sandbox as those of units and containers: some system calls do not work in it.

Run as a program (`sandbox.py ERRNO NUMBER,NUMBER COMMAND...`) it starts the command in one, by seccomp(2).
"""

import ctypes
import os
import struct
import sys

_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
LANDLOCK = "444,445,446"


def within(error: int, calls: str = LANDLOCK) -> tuple[str, ...]:
    """What to put before a command."""
    return (sys.executable, __file__, str(error), calls)


def main() -> None:
    error, calls, *command = sys.argv[1:]
    numbers = [int(number) for number in calls.split(",")]
    program = [(_LOAD, 0, 0, 0)]
    for number in numbers:
        program += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _FAIL | int(error))]
    program.append((_RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    head = struct.pack("@HP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if libc.prctl(_SET_SECCOMP, _FILTER, head) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()

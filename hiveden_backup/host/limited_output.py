"""What a program says, taken as it comes, up to a limit.

A program repeats what others say: a server's notices, the names of somebody's files. Nobody may fill our memory or a
disk with that, nor hold the program up by it.
"""

import os
import subprocess
import threading

from hiveden_backup.host.signals import begin

MOST = 4 << 20
"""Bytes of errors that a program may say; whoever says more is ended."""

_CHUNK = 1 << 16
_PATIENCE_SECONDS = 5.0  # for a child of a program that ended, which may still hold its output


class LimitedOutput:
    """An output of one program, which gets `writer`. `too_much` tells whether the program was ended for it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._reader, self.writer = os.pipe()
        self._kept = bytearray()
        self._thread: threading.Thread | None = None
        self.too_much = False

    def begin(self, process: "subprocess.Popen[bytes]") -> None:
        """Listen: it was started, and has the writer."""
        os.close(self.writer)
        self._thread = threading.Thread(target=self._take, args=(process,), name="limited output", daemon=True)
        begin(self._thread)

    def drop(self) -> None:
        """It could not be started."""
        os.close(self.writer)
        os.close(self._reader)

    def content(self) -> bytes:
        """What it said; it has ended."""
        if self._thread is not None:
            self._thread.join(_PATIENCE_SECONDS)
        return bytes(self._kept)

    def _take(self, process: "subprocess.Popen[bytes]") -> None:
        try:
            while data := os.read(self._reader, _CHUNK):
                if len(self._kept) + len(data) > self._most:
                    self.too_much = True
                    process.kill()
                    return
                self._kept += data
        finally:
            os.close(self._reader)

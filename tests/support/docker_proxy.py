"""A proxy in front of a Docker Engine, as people put there: it counts, refuses, hangs and goes away."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.meddler import DROP, FORBIDDEN, GATEWAY, HANG, PASS, Meddler, Rule, between

__all__ = ["DROP", "FORBIDDEN", "GATEWAY", "HANG", "PASS", "Proxy", "asked_to", "proxy"]


def asked_to(verb: str, answer: str) -> Rule:
    """A rule: `answer` (hang, drop or a status) to every request to stop or to start a container; all else passes."""
    return lambda method, path: answer if method == "POST" and path.partition("?")[0].endswith(f"/{verb}") else PASS


@dataclass
class Proxy(Meddler):
    """`url` is its address."""

    @property
    def url(self) -> str:
        return f"unix://{self.place}"


@contextlib.contextmanager
def proxy(engine: Path, place: Path) -> Iterator[Proxy]:
    """A proxy for the block, which listens at `place`."""
    made = Proxy(engine, place, error=lambda _status: b'{"message":"the proxy says so"}')
    with between(made):
        yield made

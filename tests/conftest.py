"""Where the fixtures that many tests share live: each file of tests/support brings its own."""

import os
import signal
import threading
from typing import Any, NoReturn

import hypothesis
import pytest
from xdist.scheduler import LoadGroupScheduling  # type: ignore[import-untyped] # it has no types

pytest_plugins = [  # one that another imports stands before it
    "tests.support.dockerd",
    "tests.support.machine",
    "tests.support.fresh",
    "tests.support.postgres",
    "tests.support.http",
    "tests.support.offsite_s3",
    "tests.support.offsite_servers",
    "tests.support.offsite_places",
    "tests.support.offsite_sent",
    "tests.support.readme",
    "tests.support.sent",
]

hypothesis.settings.register_profile("unhurried", deadline=None)  # the machine may be busy
hypothesis.settings.load_profile("unhurried")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ and config.get_verbosity() <= 0:
        config.pluginmanager.register(_Names(config))
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)


class _Names:
    """Prints the name of a test that fails at once, not when all others have ended."""

    def __init__(self, config: pytest.Config) -> None:
        self._terminal = config.pluginmanager.getplugin("terminalreporter")

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self._terminal:
            self._terminal.write_line(f"\nFAILED {report.nodeid} ({report.when})")


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    """A second Ctrl-C does not keep fixtures from taking away what they made."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


class _ByFile(LoadGroupScheduling):  # type: ignore[misc] # it has no types
    """Tests of a group, or else of a file, share a worker, and so what their fixtures made."""

    def _split_scope(self, nodeid: str) -> str:
        has_group = nodeid.rfind("@") > nodeid.rfind("]")
        return nodeid.rsplit("@", maxsplit=1)[-1] if has_group else nodeid.split("::", maxsplit=1)[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    return _ByFile(config, log) if config.getoption("dist") == "loadgroup" else None

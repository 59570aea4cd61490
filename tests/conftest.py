"""Where the fixtures that many tests share live: each file of tests/support brings its own."""

import os
import signal

import hypothesis
import pytest

pytest_plugins = [  # one that another imports stands before it
    "tests.support.dockerd",
    "tests.support.machine",
    "tests.support.fresh",
    "tests.support.postgres",
    "tests.support.http",
    "tests.support.readme",
]

hypothesis.settings.register_profile("unhurried", deadline=None)  # the machine may be busy
hypothesis.settings.load_profile("unhurried")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ and config.get_verbosity() <= 0:
        config.pluginmanager.register(_Names(config))


class _Names:
    """Prints the name of a test that fails at once, not when all others have ended."""

    def __init__(self, config: pytest.Config) -> None:
        self._terminal = config.pluginmanager.getplugin("terminalreporter")

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self._terminal:
            self._terminal.write_line(f"\nFAILED {report.nodeid} ({report.when})")


def pytest_keyboard_interrupt() -> None:
    """A second Ctrl-C does not keep fixtures from taking away what they made."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

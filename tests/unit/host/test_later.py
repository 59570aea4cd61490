"""Libraries that are imported at their first use: whole, whatever arrives meanwhile."""

import os
import subprocess
import sys
from pathlib import Path

import hiveden_backup

LIBRARY = "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nvalue = 1\n"
PROGRAM = """
import sys
from hiveden_backup.core.errors import Interrupted
from hiveden_backup.host.later import Later
from hiveden_backup.host.signals import raise_on_signals
raise_on_signals()
try:
    Later("library").value
except Interrupted:
    print(sys.modules["library"].value)
"""


def test_a_signal_does_not_break_off_an_import(tmp_path: Path) -> None:
    """A library that was half imported cannot be imported again, and cleanup may need it."""
    (tmp_path / "library.py").write_text(LIBRARY)
    paths = os.pathsep.join([str(tmp_path), str(Path(hiveden_backup.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_what_a_library_imports_for_nothing_is_not_there(tmp_path: Path) -> None:
    """An empty module stands for it while the library is imported, and whoever asks later gets the real one."""
    (tmp_path / "library.py").write_text("import needless\nvalue = vars(needless).get('value')\n")
    (tmp_path / "needless.py").write_text("value = 1\n")
    program = """
from hiveden_backup.host.later import Later
print(Later("library", without=("needless",)).value)
import needless, library
print(needless.value, library.needless is needless)
"""
    paths = os.pathsep.join([str(tmp_path), str(Path(hiveden_backup.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "None\n1 False\n"), done.stderr


def test_another_thread_does_not_get_half_a_library(tmp_path: Path) -> None:
    """It is in `sys.modules` as soon as its import begins: two pushes at once say their first words at one time."""
    (tmp_path / "library.py").write_text(
        "import threading\nthreading.begun.set()\nthreading.go_on.wait(5)\nvalue = 1\n"
    )
    program = """
import threading
from hiveden_backup.host.later import Later
threading.begun, threading.go_on = threading.Event(), threading.Event()
library, found = Later("library", without=("needless",)), []
def ask():
    found.append(library.value)
first, second = threading.Thread(target=ask), threading.Thread(target=ask)
first.start()
threading.begun.wait()
second.start()
second.join(0.2)
threading.go_on.set()
first.join()
second.join()
print(found)
"""
    paths = os.pathsep.join([str(tmp_path), str(Path(hiveden_backup.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[1, 1]\n"), done.stderr

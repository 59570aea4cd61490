"""The one door to other programs: commands and pipelines whose every member is checked.

Children die with us (`PR_SET_PDEATHSIG`, set by setpriv(1) after the fork, so that no Python runs in between).
The kernel ties that to the thread that forked: start children from a thread that outlives them.
"""

import contextlib
import fcntl
import os
import pwd
import select
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Self

from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.errors import BackupError, UnreachableError
from hiveden_backup.core.lines import split_lines
from hiveden_backup.core.paths import shortened
from hiveden_backup.host.landlock import Confined
from hiveden_backup.host.limited_output import MOST, LimitedOutput
from hiveden_backup.host.signals import deferred

_TAIL_LINES = 5
_GRACE_SECONDS = 5.0
_PIPE_BYTES = 1 << 20
_MOST_OUTPUT = 64 << 20
_SIGPIPE_STATUS = -signal.SIGPIPE
_PACKAGES = {"setpriv": "util-linux", "ssh-keygen": "openssh-client"}
_KEPT_VARIABLES = ("PATH", "HOME", "TZ", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start.

    `environment` is added to a small clean one (LC_ALL=C); secrets go there or in files, never in `argv`.
    `accept` are the exit statuses that are no failure. `user` is a system account to become first. `descriptors` are
    those of ours that the program gets, under their numbers. `ruleset` is one of Landlock, which bounds what the
    program may open; it needs an input. It works in `/`, or in the directory whose descriptor is given. It is ended
    when it says more than `most_errors` bytes of errors.
    """

    argv: Sequence[str | bytes]
    environment: Mapping[str, str] = field(default_factory=dict)
    accept: frozenset[int] = frozenset({0})
    user: str | None = None
    descriptors: tuple[int, ...] = ()
    ruleset: int | None = None
    directory: int | None = None
    most_errors: int = MOST

    @property
    def program(self) -> str:
        """The program's name without its directory, for messages."""
        return os.path.basename(os.fsdecode(self.argv[0]))


@dataclass(frozen=True, slots=True)
class Completed:
    """What a finished member left; whether it was ended, since it said `too_much`."""

    program: str
    status: int
    stdout: bytes
    stderr: bytes
    too_much: bool = False


class ProcessError(BackupError):
    """A program failed. `status` is negative for a signal; `stderr` is all that it said."""

    def __init__(self, completed: Completed) -> None:
        self.program = completed.program
        self.status = completed.status
        self.stderr = completed.stderr.decode("utf-8", "replace")
        how = f"was ended by signal {-self.status}" if self.status < 0 else f"failed with status {self.status}"
        if completed.too_much:
            how = "was ended, since it said too much"
        tail = "; ".join(shortened(line.strip()) for line in split_lines(self.stderr.strip())[-_TAIL_LINES:])
        super().__init__(f"{self.program} {how}", tail or "It gave no reason")


class Brake:
    """What ends the pipelines of other threads at once: only the main thread is told that all is to end.

    One `within` another is pulled with that one, too.
    """

    def __init__(self, within: "Brake | None" = None) -> None:
        self._lock = threading.Lock()
        self._running: list[subprocess.Popen[bytes]] = []
        self._pulled = False
        self._within = within

    @property
    def pulled(self) -> bool:
        """Whether all is to end."""
        return self._pulled or (self._within is not None and self._within.pulled)

    def hold(self, process: "subprocess.Popen[bytes]") -> None:
        """A program that it ends from now on, at once if it was pulled already."""
        with self._lock:
            self._running = [each for each in self._running if each.returncode is None]
            self._running.append(process)
            if self._pulled:
                process.kill()
        if self._within is not None:
            self._within.hold(process)

    def insist(self) -> None:
        """BackupError when it was pulled: for loops that no program's end would end."""
        if self.pulled:
            raise BackupError("This was broken off", "Something else failed, or all is to end")

    def pull(self) -> None:
        """End all programs, and those that come. Whoever waits for one finds it ended, and looks at `pulled`."""
        with deferred(), self._lock:
            self._pulled = True
            for process in self._running:
                process.kill()


class Pipeline:
    """Programs joined by pipes. Leaving the block waits for all of them and raises when any failed.

    Leaving it by an exception ends them at once. `stdin` feeds the first; the last one's output is `stdout`
    here, unless a descriptor is given for it. A `brake` ends it from another thread.
    """

    def __init__(
        self,
        *commands: Command,
        stdin: int | IO[bytes] | None = None,
        stdout: int | None = None,
        brake: Brake | None = None,
    ) -> None:
        self._commands = commands
        self._brake = brake
        self._stdin = stdin
        self._stdout = stdout
        self._processes: list[subprocess.Popen[bytes]] = []
        self._errors: list[LimitedOutput] = []
        self._confined: list[Confined[subprocess.Popen[bytes]]] = []
        self.results: tuple[Completed, ...] = ()

    def __enter__(self) -> Self:
        try:
            for number, command in enumerate(self._commands):
                self._start(command, last=number == len(self._commands) - 1)
        except BaseException:
            self._end()
            raise
        return self

    def _start(self, command: Command, *, last: bool) -> None:
        upstream: int | IO[bytes] | None = self._processes[-1].stdout if self._processes else self._stdin

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL if upstream is None else upstream,
                stdout=self._stdout if last and self._stdout is not None else subprocess.PIPE,
                stderr=errors.writer,
                env=environment,
                cwd=_working_directory(command),
                pass_fds=command.descriptors,
            )

        argv, environment = _argv(command), _environment(command)
        with deferred():  # what runs is known to us, or is not begun: nobody else would end it
            errors = LimitedOutput(command.most_errors)
            try:
                if command.ruleset is None:
                    self._processes.append(start())
                else:
                    self._confined.append(Confined(command.ruleset, start))
                    self._processes.append(self._confined[-1].result)
            except BaseException:
                errors.drop()
                raise
            if self._brake is not None:
                self._brake.hold(self._processes[-1])
            errors.begin(self._processes[-1])
            self._errors.append(errors)
        _widen(self._processes[-1].stdin, self._processes[-1].stdout)
        if len(self._processes) > 1 and (pipe := self._processes[-2].stdout) is not None:
            pipe.close()  # so that a member sees SIGPIPE when its reader is gone

    @property
    def stdin(self) -> IO[bytes]:
        """The first member's input, when `stdin=subprocess.PIPE` was asked for."""
        pipe = self._processes[0].stdin
        if pipe is None:
            raise AssertionError("the pipeline was not opened with a pipe as its input")
        return pipe

    @property
    def stdout(self) -> IO[bytes]:
        """The last member's output."""
        pipe = self._processes[-1].stdout
        if pipe is None:
            raise AssertionError("the pipeline's output goes to a descriptor")
        return pipe

    def ends_within(self, seconds: float) -> bool:
        """Whether the last member ends in so many seconds; `__exit__` tells how."""
        return _ended(self._processes[-1], seconds)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is BrokenPipeError:  # feeding it failed: what the members say is the real reason
            self._finish()
        elif kind is not None:
            self._end()
        else:
            self._finish()

    def _finish(self) -> None:
        try:
            for process in self._processes:
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        with contextlib.suppress(BrokenPipeError):
                            pipe.close()
            for process in self._processes:
                _ended(process)
        except BaseException:
            self._end()
            raise
        self._release()
        self.results = tuple(
            Completed(command.program, process.returncode, b"", errors.content(), errors.too_much)
            for command, process, errors in zip(self._commands, self._processes, self._errors, strict=True)
        )
        failed = [
            result
            for command, result in zip(self._commands, self.results, strict=True)
            if result.status not in command.accept
        ]
        if failed:  # a broken pipe is mostly the echo of another member's failure
            failed.sort(key=lambda result: result.status == _SIGPIPE_STATUS)
            raise ProcessError(failed[0])

    def _end(self) -> None:
        running = [process for process in self._processes if not _ended(process, 0)]
        deaf = signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())  # as our thread is, so are they
        for process in running:
            _signal(process, signal.SIGKILL if deaf else signal.SIGTERM)
        self._release()  # which kills what is tied to it: such a one was started with signals held back
        for process in running:
            if not _ended(process, _GRACE_SECONDS):
                _signal(process, signal.SIGKILL)
                _ended(process)
        for process in self._processes:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()

    def _release(self) -> None:
        while self._confined:
            self._confined.pop().end()


def run(command: Command, *, stdin: bytes = b"", timeout: float | None = None) -> Completed:
    """Run one short program to its end. ProcessError when its status is not accepted or `timeout` passes."""
    argv, environment = _argv(command), _environment(command)
    process: subprocess.Popen[bytes] | None = None
    try:
        with _memory(stdin) as given, deferred():  # as in a pipeline
            said, errors = LimitedOutput(_MOST_OUTPUT), LimitedOutput(command.most_errors)
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=given,
                    stdout=said.writer,
                    stderr=errors.writer,
                    env=environment,
                    cwd=_working_directory(command),
                    pass_fds=command.descriptors,
                )
            except BaseException:
                said.drop()
                errors.drop()
                raise
            said.begin(process)
            errors.begin(process)
        in_time = _ended(process, timeout)
    finally:
        if process is not None and process.returncode is None:
            _signal(process, signal.SIGKILL)
            _ended(process)
    if not in_time:
        raise BackupError(f"{command.program} did not answer within {timeout:g} seconds")
    too_much = said.too_much or errors.too_much
    completed = Completed(command.program, process.returncode, said.content(), errors.content(), too_much)
    if completed.status not in command.accept:
        raise ProcessError(completed)
    return completed


@contextlib.contextmanager
def output(*commands: Command, stdin: int | IO[bytes] | None = None) -> Iterator[IO[bytes]]:
    """The output of a pipeline as a stream; leaving the block checks every member."""
    with Pipeline(*commands, stdin=stdin) as pipeline:
        yield pipeline.stdout


def find_program(name: str) -> str:
    """The absolute path of `name`. UnreachableError when it is not installed."""
    path = shutil.which(name)
    if path is None:
        package = _PACKAGES.get(name, name)
        raise UnreachableError(f"The program {name} is not installed", "", f"Install it: apt-get install {package}")
    return path


def _ended(process: "subprocess.Popen[bytes]", seconds: float | None = None) -> bool:
    """Whether a program ends in so many seconds, or at all; its status is known then.

    Popen's own ways to wait for a while, and to look, hold a lock for ever when a signal raises at the wrong step.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # another thread saw its end
            descriptor = os.pidfd_open(process.pid)
            try:
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                if not poll.poll(None if seconds is None else seconds * 1000):
                    return False
            finally:
                os.close(descriptor)
        with deferred():
            process.wait()
    return True


def _signal(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Send it a signal, unless it has ended: Popen looks at that first, in its own way."""
    with deferred():
        process.send_signal(number)


@contextlib.contextmanager
def _memory(content: bytes) -> Iterator[IO[bytes]]:
    """A file with this content, for a program to read: a pipe would have to be fed while it runs."""
    with open(os.memfd_create("input", os.MFD_CLOEXEC), "w+b") as file:
        file.write(content)
        file.seek(0)
        yield file


def _widen(*pipes: IO[bytes] | None) -> None:
    """Let more bytes wait in these pipes, where the user still has room for that.

    It is limited for root too without CAP_SYS_RESOURCE, as in the hardened unit.
    """
    for pipe in pipes:
        if pipe is not None:
            with contextlib.suppress(PermissionError):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _argv(command: Command) -> list[str | bytes]:
    program = os.fsdecode(command.argv[0])
    become: list[str | bytes] = []
    if command.user is not None:
        account = pwd.getpwnam(command.user)
        become = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--init-groups"]
    resolved = program if os.path.isabs(program) else find_program(program)
    return [find_program("setpriv"), "--pdeathsig=KILL", *become, "--", resolved, *command.argv[1:]]


def _working_directory(command: Command) -> str:
    return (
        "/" if command.directory is None else f"/proc/self/fd/{command.directory}"
    )  # the child's own, before it execs


def _environment(command: Command) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {**kept, "LC_ALL": "C", **command.environment}

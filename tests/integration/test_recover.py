"""Paying the ledger on a real Engine: what ran runs again, and paying twice is harmless."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

from hiveden_backup.core.errors import BusyError, UnreachableError
from hiveden_backup.host.docker.engine import Docker, connect
from hiveden_backup.host.failpoints import VARIABLE
from hiveden_backup.host.state.ledger import Debt, Ledger, boot_id
from hiveden_backup.host.state.locks import ExclusiveJob, container_locks, job_lock
from hiveden_backup.jobs.services import debts as module
from hiveden_backup.jobs.services.debts import Payment, PaymentResult, pay, recover
from tests.support.dockerd import KEEP_RUNNING, Engine, unique_name
from tests.support.job import until

JOB = "immich"

PROGRAM = """
import sys
from functools import partial
from pathlib import Path
from hiveden_backup.host.docker.engine import connect
from hiveden_backup.host.state.ledger import Ledger
from hiveden_backup.jobs.services.debts import recover
recover(partial(connect, sys.argv[1]), Ledger(Path(sys.argv[2])))
"""

Connect = Callable[[], AbstractContextManager[Docker]]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "state")


@pytest.fixture
def reach(engine: Engine) -> Connect:
    return partial(connect, engine.url)


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.1)


def owe(engine: Engine, ledger: Ledger, name: str, job: str = JOB) -> Debt:
    """What a run does before it stops a container, and the stop."""
    record = engine.api.inspect_container(name)
    debt = Debt(job, record["Id"], name, boot_id(), record["State"]["StartedAt"], datetime.now(UTC))
    ledger.owe(debt)
    engine.api.kill(name)
    return debt


def outcomes(payments: tuple[Payment, ...]) -> dict[str, PaymentResult]:
    return {payment.container: payment.outcome for payment in payments}


def never() -> NoReturn:
    raise AssertionError("Docker must not be asked when nothing is owed")


def test_docker_is_not_asked_when_nothing_is_owed(ledger: Ledger) -> None:
    assert recover(never, ledger) == ()
    assert recover(never, ledger, JOB) == ()
    assert pay(never, ledger, ExclusiveJob(JOB)) == ()


def test_docker_out_of_reach(engine: Engine, ledger: Ledger, tmp_path: Path) -> None:
    debt = owe(engine, ledger, engine.run())
    nobody = partial(connect, f"unix://{tmp_path}/docker.sock")
    attempts: tuple[Callable[[], object], ...] = (
        lambda: recover(nobody, ledger),
        lambda: pay(nobody, ledger, ExclusiveJob(JOB)),
    )
    for attempt in attempts:
        with pytest.raises(UnreachableError) as caught:
            attempt()
        assert caught.value.exit_code == 69
    assert ledger.debts() == (debt,)
    with job_lock(ledger.state, JOB):
        pass


def test_what_we_stopped_runs_again(engine: Engine, ledger: Ledger, reach: Connect) -> None:
    web, db = engine.run(), engine.run()
    for name in (web, db):
        owe(engine, ledger, name)
    payments = recover(reach, ledger)
    assert outcomes(payments) == {web: PaymentResult.STARTED, db: PaymentResult.STARTED}
    assert all(payment.paid and not payment.detail and payment.exit_code == 0 for payment in payments)
    assert engine.is_running(web)
    assert engine.is_running(db)
    assert ledger.debts() == ()
    assert recover(reach, ledger) == ()


def test_one_that_runs_already_is_not_touched(engine: Engine, ledger: Ledger, reach: Connect) -> None:
    """Never stopped, or started by somebody else since: both are as they should be."""
    untouched, started = engine.run(), engine.run()
    owe(engine, ledger, started)
    engine.api.start(started)
    record = engine.api.inspect_container(untouched)
    ledger.owe(Debt(JOB, record["Id"], untouched, boot_id(), record["State"]["StartedAt"], datetime.now(UTC)))
    before = [engine.state(name) for name in (untouched, started)]
    assert outcomes(recover(reach, ledger)) == {untouched: PaymentResult.RUNNING, started: PaymentResult.RUNNING}
    assert [engine.state(name) for name in (untouched, started)] == before
    assert ledger.debts() == ()


def test_a_paused_one_stays_so(engine: Engine, ledger: Ledger, reach: Connect) -> None:
    name = engine.run()
    owe(engine, ledger, name)
    engine.api.start(name)
    engine.api.pause(name)
    (payment,) = recover(reach, ledger)
    assert payment.outcome == PaymentResult.RUNNING
    assert "paused" in payment.detail
    assert engine.state(name)["Paused"]


def test_one_that_only_waits_to_be_restarted_stays_owed(engine: Engine, ledger: Ledger, reach: Connect) -> None:
    """Docker calls it running, and it may never be."""
    name = engine.run(("sh", "-c", "exit 4"), restart_policy={"Name": "always"})
    until(lambda: engine.api.inspect_container(name)["RestartCount"] > 4, "Docker waits longer each time")
    until(lambda: engine.state(name)["Restarting"], "it waits")
    debt = Debt(JOB, engine.api.inspect_container(name)["Id"], name, boot_id(), "before", datetime.now(UTC))
    ledger.owe(debt)
    assert outcomes(recover(reach, ledger, start_timeout=1)) == {name: PaymentResult.FAILED}
    assert ledger.debts() == (debt,)


def test_a_removed_one_is_settled_with_a_warning(engine: Engine, ledger: Ledger, reach: Connect) -> None:
    name = engine.run()
    owe(engine, ledger, name)
    engine.api.remove_container(name)
    (payment,) = recover(reach, ledger)
    assert payment.outcome == PaymentResult.GONE
    assert "removed" in payment.detail
    assert payment.exit_code == 0
    assert ledger.debts() == ()


@pytest.mark.parametrize("running", [False, True])
def test_one_made_anew_stands_for_it(engine: Engine, ledger: Ledger, reach: Connect, *, running: bool) -> None:
    name = engine.run()
    owe(engine, ledger, name)
    engine.api.remove_container(name)
    (engine.run if running else engine.create)(name=name)
    (payment,) = recover(reach, ledger)
    assert payment.outcome == (PaymentResult.RUNNING if running else PaymentResult.STARTED)
    assert "same name" in payment.detail
    assert engine.is_running(name)
    assert ledger.debts() == ()


def test_a_renamed_one_is_found_by_its_id(engine: Engine, ledger: Ledger, reach: Connect) -> None:
    name, other = engine.run(), unique_name("renamed")
    owe(engine, ledger, name)
    engine.api.rename(name, other)
    stranger = engine.create(name=name)
    assert outcomes(recover(reach, ledger)) == {name: PaymentResult.STARTED}
    assert engine.is_running(other)
    assert not engine.is_running(stranger)


def test_a_damaged_entry_is_paid_by_its_name(engine: Engine, ledger: Ledger, reach: Connect) -> None:
    name = engine.run()
    owe(engine, ledger, name)
    (ledger.state / "ledger" / JOB / f"{name}.json").write_text('{"id": "')
    (payment,) = recover(reach, ledger)
    assert payment.outcome == PaymentResult.STARTED
    assert "damaged" in payment.detail
    assert engine.is_running(name)
    assert ledger.debts() == ()


def test_one_that_refuses_keeps_its_debt_and_holds_up_no_other(
    engine: Engine, ledger: Ledger, reach: Connect, tmp_path: Path
) -> None:
    script = tmp_path / "entry.sh"
    script.write_text("#!/bin/sh\n" + KEEP_RUNNING[2])
    script.chmod(0o755)
    broken = engine.run(("/entry.sh",), name=unique_name("a"), binds=[f"{script}:/entry.sh:ro"])
    short = engine.run(("sh", "-c", "test -e /tmp/x && exit 3; touch /tmp/x; sleep 3600"), name=unique_name("b"))
    good = engine.run(name=unique_name("c"))
    time.sleep(0.2)
    debts = [owe(engine, ledger, name) for name in (broken, short, good)]
    script.unlink()
    payments = {payment.container: payment for payment in recover(reach, ledger, start_timeout=3)}
    assert payments[good].outcome == PaymentResult.STARTED
    for name, reason in ((broken, "entry.sh"), (short, "exit code 3")):
        assert payments[name].outcome == PaymentResult.FAILED
        assert not payments[name].paid
        assert payments[name].exit_code == 1
        assert reason in payments[name].detail
    assert ledger.debts() == tuple(debts[:2])

    engine.api.remove_container(broken, force=True)
    engine.run(name=broken)
    engine.api.remove_container(short, force=True)
    assert outcomes(recover(reach, ledger)) == {broken: PaymentResult.RUNNING, short: PaymentResult.GONE}
    assert ledger.debts() == ()


def test_what_others_need_starts_first(engine: Engine, ledger: Ledger, reach: Connect) -> None:
    """One that joins the network of a container that is down does not start: Docker refuses."""
    base = engine.run(name=unique_name("z"))
    app = engine.run(name=unique_name("a"), network_mode=f"container:{base}")
    for name in (app, base):
        owe(engine, ledger, name)
    payments = recover(reach, ledger)
    assert [payment.container for payment in payments] == [base, app]
    assert {payment.outcome for payment in payments} == {PaymentResult.STARTED}


def test_what_the_containers_of_another_job_need_is_tried_again(engine: Engine, ledger: Ledger, reach: Connect) -> None:
    """After a power cut both are down, and the jobs' order is not theirs."""
    base = engine.run()
    app = engine.run(network_mode=f"container:{base}")
    owe(engine, ledger, app, job="a")
    owe(engine, ledger, base, job="b")
    assert outcomes(recover(reach, ledger)) == {app: PaymentResult.STARTED, base: PaymentResult.STARTED}
    assert ledger.debts() == ()


def test_only_what_one_job_owes(engine: Engine, ledger: Ledger, reach: Connect) -> None:
    ours, other = engine.run(), engine.run()
    owe(engine, ledger, ours)
    debt = owe(engine, ledger, other, job="nextcloud")
    assert outcomes(recover(reach, ledger, JOB)) == {ours: PaymentResult.STARTED}
    assert ledger.debts() == (debt,)
    assert not engine.is_running(other)


def test_a_busy_job_is_skipped_without_asking_docker(engine: Engine, ledger: Ledger) -> None:
    debt = owe(engine, ledger, engine.run())
    with job_lock(ledger.state, JOB):
        (payment,) = recover(never, ledger)
    assert payment.outcome == PaymentResult.SKIPPED
    assert "busy" in payment.detail
    assert payment.exit_code == 0
    assert ledger.debts() == (debt,)


def test_a_container_that_another_job_holds_is_left_to_it(engine: Engine, ledger: Ledger, reach: Connect) -> None:
    """It may be down for that job's cold pass. The wait is bounded, the debt stays, and others are paid."""
    held, free = engine.run(name=unique_name("a")), engine.run(name=unique_name("b"))
    debt = owe(engine, ledger, held)
    owe(engine, ledger, free)
    with container_locks(ledger.state, [held], 0):
        payments = {payment.container: payment for payment in recover(reach, ledger, lock_wait=0.3)}
    assert payments[held].outcome == PaymentResult.BUSY
    assert isinstance(payments[held].error, BusyError)
    assert payments[held].exit_code == 75
    assert payments[free].outcome == PaymentResult.STARTED
    assert ledger.debts() == (debt,)
    assert not engine.is_running(held)


def test_a_container_is_waited_for(engine: Engine, ledger: Ledger, reach: Connect) -> None:
    name = engine.run()
    owe(engine, ledger, name)
    taken, give_back = threading.Event(), threading.Event()

    def hold() -> None:
        with container_locks(ledger.state, [name], 0):
            taken.set()
            give_back.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(10)
    threading.Timer(0.5, give_back.set).start()
    assert outcomes(recover(reach, ledger, lock_wait=30)) == {name: PaymentResult.STARTED}
    thread.join()


def test_pay_is_for_those_who_hold_the_job(engine: Engine, ledger: Ledger, reach: Connect) -> None:
    name = engine.run()
    owe(engine, ledger, name)
    with job_lock(ledger.state, JOB) as locked:
        assert outcomes(pay(reach, ledger, locked)) == {name: PaymentResult.STARTED}
    assert ledger.debts() == ()


@pytest.mark.parametrize("phase", ["start", "settle"])
def test_killed_on_the_way(engine: Engine, ledger: Ledger, phase: str) -> None:
    """Whatever was done by then, the next one puts it right."""
    name = engine.run()
    debt = owe(engine, ledger, name)
    argv = [sys.executable, "-c", PROGRAM, engine.url, str(ledger.state)]
    assert subprocess.run(argv, env={VARIABLE: f"{phase}:kill"}, check=False).returncode == -9
    assert ledger.debts() == (debt,)
    assert engine.is_running(name) == (phase == "settle")
    subprocess.run(argv, env={}, check=True)
    assert engine.is_running(name)
    assert ledger.debts() == ()


@pytest.mark.parametrize("point", ["start:error", "settle:eio"])
def test_an_error_on_the_way_is_a_value(
    engine: Engine, ledger: Ledger, reach: Connect, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    names = [engine.run(), engine.run()]
    for name in names:
        owe(engine, ledger, name)
    monkeypatch.setenv(VARIABLE, point)
    payments = recover(reach, ledger, start_timeout=1)
    assert outcomes(payments) == dict.fromkeys(names, PaymentResult.FAILED)
    assert all(payment.exit_code for payment in payments)
    assert {debt.name for debt in ledger.debts()} == set(names)
    monkeypatch.delenv(VARIABLE)
    expected = PaymentResult.STARTED if point == "start:error" else PaymentResult.RUNNING
    assert outcomes(recover(reach, ledger)) == dict.fromkeys(names, expected)


def test_two_at_once(engine: Engine, ledger: Ledger, reach: Connect) -> None:
    """The timer's unit and a person: one pays, the other one says that it is busy or that nothing is owed."""
    names = [engine.run() for _ in range(3)]
    for name in names:
        owe(engine, ledger, name)
    results: list[tuple[Payment, ...]] = []
    threads = [threading.Thread(target=lambda: results.append(recover(reach, ledger))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    paid = [payment.container for result in results for payment in result if payment.paid]
    assert sorted(paid) == sorted(names)
    assert all(engine.is_running(name) for name in names)
    assert ledger.debts() == ()


def test_after_a_crash_of_docker_itself(private_dockerd: Engine, ledger: Ledger) -> None:
    web = private_dockerd.run(restart_policy={"Name": "unless-stopped"})
    debt = owe(private_dockerd, ledger, web)
    private_dockerd.kill()
    reach = partial(connect, private_dockerd.url)
    with pytest.raises(UnreachableError):
        recover(reach, ledger)
    assert ledger.debts() == (debt,)
    private_dockerd.start()
    assert outcomes(recover(reach, ledger)) == {web: PaymentResult.STARTED}
    assert private_dockerd.is_running(web)

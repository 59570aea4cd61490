"""The API does what its OpenAPI document says, and no input that fits or does not fit the document upsets it."""

import contextlib
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.support.api_home import SERVICE, Home
from tests.support.machine import Machine, clear

EXAMPLES = 6


@pytest.fixture(scope="module")
def home(booted: Machine) -> Home:
    clear(booted)
    made = Home(booted)
    made.api = {"allow_loopback": True, "idle": "600s"}
    made.furnish()
    made.client.post("/jobs/files/run").ok(201)
    return made


def test_document(home: Home) -> None:
    document = schemathesis.openapi.from_url(f"http://127.0.0.1:{home.listen_on_tcp()}/openapi.json")
    operations: list[Any] = list(document.get_all_operations())
    assert len(operations) == 18
    for operation in operations:
        hold_against(operation.ok(), GenerationMode.POSITIVE)
        with contextlib.suppress(Unsatisfiable):  # there is nothing in it that could be wrong
            hold_against(operation.ok(), GenerationMode.NEGATIVE)
        assert home.machine.show(SERVICE, "NRestarts", "Result") == {"NRestarts": "0", "Result": "success"}


def hold_against(operation: Any, mode: GenerationMode) -> None:
    """Whatever comes back must be documented: its status, its type, its content."""

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Any) -> None:
        case.call_and_validate(timeout=120, excluded_checks=[positive_data_acceptance])  # there are rules beside it

    check()

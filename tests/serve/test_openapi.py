"""The API against its own description: schemathesis asks it whatever the description allows, and no answer is a fault of ours."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings


@pytest.fixture(scope="module")
def description(server):
    """Of the routes that read: what changes the store is tested by itself."""
    described = schemathesis.openapi.from_url(f"{server.url}api/openapi.json")
    return described.exclude(method=["POST", "PUT", "DELETE"])


schema = schemathesis.pytest.from_fixture("description")


@schema.parametrize()
@settings(
    max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None
)  # fmt: skip
def test_no_question_is_answered_with_a_fault(case):
    answer = case.call()
    assert answer.status_code < 500 or answer.status_code == 503, answer.content
    if answer.status_code >= 400:
        assert answer.headers["content-type"][0] == "application/problem+json"

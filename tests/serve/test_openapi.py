"""The API against its own description: schemathesis asks it whatever the description allows, and no answer is a fault of ours."""

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

QUIET = settings(
    max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None
)  # fmt: skip


def test_no_question_is_answered_with_a_fault(server):
    """Of the routes that read: what changes the store is tested by itself."""
    described = schemathesis.openapi.from_url(f"{server.url}api/openapi.json")
    operations = [
        found.ok() for found in described.exclude(method=["POST", "PUT", "DELETE"]).get_all_operations()
    ]
    assert len(operations) > 15
    for operation in operations:

        @QUIET
        @given(case=operation.as_strategy())
        def ask(case):
            answer = case.call()
            assert answer.status_code < 500, (case.as_curl_command(), answer.content)
            if answer.status_code >= 400:
                assert answer.headers["content-type"][0] == "application/problem+json"

        ask()

"""What Prefect's server answers when it is too busy is a line, and may heal."""

import http.server
import threading

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import (
    PREFECT_API_KEY,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_CLIENT_RETRY_EXTRA_CODES,
    temporary_settings,
)

from flows.errors import can_heal, line_of


@pytest.mark.parametrize("status", [500, 503, 404])
def test_a_fault_of_the_server_is_told_and_may_heal(status):
    class Busy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        given = {
            PREFECT_API_URL: f"http://127.0.0.1:{server.server_port}/api",
            PREFECT_API_KEY: None,
            PREFECT_CLIENT_MAX_RETRIES: 0,
            PREFECT_CLIENT_RETRY_EXTRA_CODES: set(),
        }
        with (
            temporary_settings(given),
            get_client(sync_client=True) as client,
            pytest.raises(PrefectHTTPStatusError) as found,
        ):
            client.request("GET", "/flows/count")
        server.shutdown()
    if status == 404:
        assert line_of(found.value) is None and not can_heal(found.value), "a defect of ours"
    else:
        assert str(status) in line_of(found.value) and can_heal(found.value)

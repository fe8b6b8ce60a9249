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


def pytest_collection_modifyitems(items):
    """Moves the tests that wait for a slow client to the end. It runs beside the others."""
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

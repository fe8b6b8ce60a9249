"""Starts the server and the slow clients, and gives each test a sender."""

import os
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


@pytest.fixture
def sender(service):
    """A sender with a key that no other test uses."""
    return service.sender()


@pytest.fixture(scope="session")
def node_folder():
    """The folder with the packages of npm, in which scripts find them."""
    return Path(os.environ["MOCA_NODE"])

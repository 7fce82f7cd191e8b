"""Fixtures shared by the Python suites: where the broker is, what it is, and how to kill it.

Not here: anything about one client. The runner (`cargo xtask clients`) sets the environment:
SABIR_BOOTSTRAP (HOST:PORT), SABIR_PEER=1 where the broker is not Sabir, and SABIR_CONTROL
(a Unix socket) where the runner owns the process.
"""

import os
import re
import socket
import uuid

import pytest

BOOTSTRAP = os.environ["SABIR_BOOTSTRAP"]
IS_PEER = os.environ.get("SABIR_PEER") == "1"
CONTROL = os.environ.get("SABIR_CONTROL")


def pytest_collection_modifyitems(items):
    for item in items:
        if IS_PEER and item.get_closest_marker("sabir_only"):
            item.add_marker(pytest.mark.skip(reason="only Sabir behaves so, the broker is a peer"))
        if not CONTROL and item.get_closest_marker("owned"):
            item.add_marker(pytest.mark.skip(reason="the runner does not own the broker"))


@pytest.fixture(scope="session")
def bootstrap():
    return BOOTSTRAP


@pytest.fixture
def unique(request):
    """A name no other test has used: letters of the test's own name and a random tail."""

    def make(prefix="t"):
        stem = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[:60].strip("-")
        return f"{prefix}-{stem}-{uuid.uuid4().hex[:8]}"

    return make


class Broker:
    """The process under test, as far as the runner lets a test handle it."""

    @staticmethod
    def _ask(command):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(50)
            control.connect(CONTROL)
            control.sendall(f"{command}\n".encode())
            answer = control.makefile().readline().strip()
        assert answer == "ok", f"{command}: {answer}"

    def kill(self):
        """kill -9; returns when the process is gone."""
        self._ask("kill")

    def start(self):
        """Start it again on the same port and data; returns when it is ready."""
        self._ask("start")

    def stop(self):
        """SIGTERM; returns when the process has ended with exit code 0."""
        self._ask("stop")


@pytest.fixture
def broker():
    return Broker()

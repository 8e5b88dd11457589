import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from engine.base import loopback

ROOT = Path(__file__).resolve().parents[2]


def device_of(listener):
    return listener.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_what_begins_to_listen_is_kept_to_this_host(family):
    """Shown from another network namespace: connections to it are refused, to the other they are not."""
    with socket.create_server(("", 0)) as earlier:
        with loopback.confined() as open_ports:
            listener = socket.create_server(("", 0), family=family)
        with listener:
            assert device_of(listener) == b"lo\0"
            assert device_of(earlier) == b""
            host = "127.0.0.1" if family == socket.AF_INET else "::1"
            socket.create_connection((host, listener.getsockname()[1]), timeout=10).close()
    assert open_ports == []


def test_a_port_that_cannot_be_kept_is_named(monkeypatch):
    monkeypatch.setattr(loopback, "_DEVICE", b"no such device")
    with loopback.confined() as open_ports:
        listener = socket.create_server(("", 0))
    with listener:
        port = listener.getsockname()[1]
    assert open_ports == [port]
    assert f"port {port} of TensorFlow's is open on every address" in loopback.warning(open_ports)


@pytest.mark.parametrize(
    ("hosts", "local"),
    [
        (["127.0.0.1:1", "localhost:2", "[::1]:3", "127.0.1.1:4"], True),
        (["127.0.0.1:1", "10.0.0.1:1"], False),
        (["node1:1"], False),
        (["localhost.example.org:1"], False),
    ],
)
def test_hosts_are_local_where_all_are(hosts, local):
    assert loopback.is_local(hosts) is local


_ISOLATED = """
import os, socket
from pathlib import Path
from engine.base import loopback
before = os.getuid(), os.getgid()
if not loopback.isolate():
    print("not allowed")
else:
    assert (os.getuid(), os.getgid()) == before
    with socket.create_server(("", 0)) as listener:
        socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=10).close()
    print([name for _, name in socket.if_nameindex()], str(Path("/proc/self/ns/net").readlink()))
"""


def test_an_isolated_process_has_a_loopback_and_nothing_else():
    done = subprocess.run(
        [sys.executable, "-c", _ISOLATED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    if "not allowed" in done.stdout:
        pytest.skip("this system allows no network namespaces")
    assert done.stdout.startswith("['lo']")
    assert str(Path("/proc/self/ns/net").readlink()) not in done.stdout


def test_where_namespaces_are_not_allowed_the_process_stays_as_it_is(monkeypatch):
    def refused():
        raise PermissionError("no network namespace")

    monkeypatch.setattr(loopback, "_leave_network", refused)
    monkeypatch.setattr(loopback.os, "_exit", lambda status: os.kill(os.getpid(), 9))
    before = str(Path("/proc/self/ns/net").readlink())
    assert loopback.isolate() is False
    assert str(Path("/proc/self/ns/net").readlink()) == before

"""Keeps servers that listen on every address of this host to the host itself.

TensorFlow's servers have no setting for that: they listen on all addresses, and whoever reaches one reads
and writes files and computes as the user. Two ways around, neither of which needs privileges where the
system allows it: a network namespace, in which there is a loopback and nothing else, for a command whose
processes only talk to one another; and binding the sockets that listen to the loopback's device, once
they do.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
_DEVICE = b"lo"
_LISTENING = "0A"  # a state of /proc/net/tcp
_POLL_SECONDS = 0.001


def isolate() -> bool:
    """Moves this process, and what it starts from now on, to a network of its own; says whether it could.

    To be called before it has threads: a process with several cannot leave its user namespace. Tried
    on a child first, as systems may allow the first half, and this process be left with neither.
    """
    child = os.fork()
    if child == 0:
        try:
            _leave_network()
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitpid(child, 0)[1] != 0:
        return False
    try:
        _leave_network()
    except PermissionError:  # this process has threads already
        return False
    return True


def _leave_network() -> None:
    user, group = os.geteuid(), os.getegid()
    unshare = ctypes.CDLL(None).unshare
    if unshare(_CLONE_NEWNET) != 0:  # which only a privileged process may
        if unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
            raise PermissionError("no network namespace")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", _DEVICE, _IFF_UP))


def warning(ports: Iterable[int]) -> str:
    """A line for the user on ports of TensorFlow's that are open to others."""
    listed = ", ".join(map(str, ports))
    return (
        f"warning: port {listed} of TensorFlow's is open on every address of this host; whoever reaches it "
        "computes, and reads and writes files, as you: let only hosts that you trust reach it (README, Ports)"
    )


def is_local(hosts: Iterable[str]) -> bool:
    """Whether all of some `host:port` are this host's loopback."""
    names = {host.rpartition(":")[0].strip("[]") for host in hosts}
    return all(name in ("localhost", "::1") or name.startswith("127.") for name in names)


@contextlib.contextmanager
def confined() -> Iterator[list[int]]:
    """Keeps what begins to listen within the block to this host, some milliseconds after it has begun.

    Yields:
        When the block has ended, the ports that are open to others nevertheless: before Linux 5.7 only a
        privileged process may bind a socket to a device.
    """
    before, open_ports, ended = set(_listening()), list[int](), threading.Event()

    def watch() -> None:
        while not _listening().keys() - before and not ended.wait(_POLL_SECONDS):
            pass
        _confine(before)

    watcher = threading.Thread(target=watch, name="loopback", daemon=True)
    watcher.start()
    try:
        yield open_ports
    finally:
        ended.set()
        watcher.join()
        open_ports += _confine(before)


def _confine(but: set[int]) -> list[int]:
    """Binds what listens here to the loopback's device, but for some; returns the ports that cannot be."""
    failed = []
    for descriptor, port in _listening().items():
        if descriptor in but:
            continue
        try:
            with socket.socket(fileno=os.dup(descriptor)) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _DEVICE)
        except OSError:
            failed.append(port)
    return failed


def _listening() -> dict[int, int]:
    """The ports that this process listens on: descriptor -> port."""
    ports = {}
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/self/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING:
                    ports[f"socket:[{fields[9]}]"] = int(fields[1].rpartition(":")[2], 16)
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(link.readlink())
            if target in ports:
                found[int(link.name)] = ports[target]
    return found

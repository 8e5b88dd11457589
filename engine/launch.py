"""`python -m engine.launch --num-workers N -- <train arguments>`: starts several workers on one host.

Starts `python -m engine.train <train arguments> --strategy multi_worker` N times with a `TF_CONFIG`,
as a cluster would on N hosts. What workers print is prefixed with their number; signals go to all of
them; when one fails, the others are ended and the failing one is named. Run the same command again with
`--resume` among the train arguments and the job resumes from the last checkpoint.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import IO

from engine.base import command_line, config, loopback, machine, orphans
from engine.base.config import UserError
from engine.base.flag_parser import FlagParser
from engine.base.settings import TrainConfig

PROGRAM = "python -m engine.launch"
GRACE_SECONDS = 60.0  # TensorFlow may wait forever for a dead peer, and ignores SIGTERM meanwhile
_POLL_SECONDS = 0.1


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(
        prog=PROGRAM,
        description=__doc__,
        usage=f"{PROGRAM} [flags] -- TRAIN_ARGUMENTS",
    )
    parser.add_argument(
        "--num-workers", type=int, default=2, metavar="N", help="processes (default: 2)"
    )
    parser.add_argument(
        "--grace-seconds",
        type=float,
        default=GRACE_SECONDS,
        metavar="X",
        help="how long workers have to end by themselves before they are killed (default: 60)",
    )
    parser.add_argument(
        "train_arguments", nargs=argparse.REMAINDER, metavar="-- ...", help="as for engine.train"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    if arguments.num_workers < 1:
        raise UserError(f"--num-workers: got {arguments.num_workers}, expected 1 or more")
    machine.check_processes("--num-workers", arguments.num_workers)
    given = arguments.train_arguments
    given = given[1:] if given[:1] == ["--"] else given
    if not given:
        raise UserError("no train arguments; give those of engine.train behind --")
    isolated = not _needs_network(given) and loopback.isolate()
    _check(given)
    environments = worker_environments(arguments.num_workers)
    if not isolated:
        # Each binds its server to the loopback, but TensorFlow lets nothing else run before all are there.
        hosts = json.loads(environments[0]["TF_CONFIG"])["cluster"]["worker"]
        ports = [int(host.rpartition(":")[2]) for host in hosts]
        print(
            f"{PROGRAM}: until all workers have joined: {loopback.warning(ports)}", file=sys.stderr
        )
    return launch(given, environments, grace_seconds=arguments.grace_seconds)


def _needs_network(given: list[str]) -> bool:
    """Whether the workers talk to others than one another."""
    parser = FlagParser(prog=PROGRAM, add_help=False)
    config.add_flags(parser, TrainConfig)
    flags, _ = parser.parse_known_args(given)
    return config.from_flags(TrainConfig, flags).data_service is not None


def _check(given: list[str]) -> None:
    """Raises `UserError`, or ends with status 2, where every worker would."""
    # Imports NumPy, whose threads would keep this process in its network.
    from engine.training import train_arguments

    parser = train_arguments.build_parser(PROGRAM, __doc__)
    train_arguments.checked_settings(parser.parse_args(given), for_all=True)


def launch(
    train_arguments: list[str], environments: list[dict[str, str]], *, grace_seconds: float
) -> int:
    """Starts a worker in each environment and waits for all; returns the first failing one's status, or 0."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "engine.train", *train_arguments, "--strategy", "multi_worker"],
            env={**os.environ, **environment, **orphans.environment(grace_seconds=grace_seconds)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Ctrl-C at a terminal would reach them twice.
            start_new_session=True,
        )
        for environment in environments
    ]
    printers = [
        threading.Thread(target=_prefix, args=(stream, target, f"[worker {index}] "), daemon=True)
        for index, worker in enumerate(workers)
        for stream, target in ((worker.stdout, sys.stdout), (worker.stderr, sys.stderr))
    ]
    for printer in printers:
        printer.start()
    try:
        status = _wait(workers, grace_seconds)
    finally:
        _end(workers, signal.SIGKILL, 0.0)
        for printer in printers:
            printer.join(timeout=5)
    return status


def worker_environments(num_workers: int) -> list[dict[str, str]]:
    """What each worker's environment adds: `TF_CONFIG` on free ports, and its part of the cores."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(num_workers)]
    hosts = [f"127.0.0.1:{bound.getsockname()[1]}" for bound in sockets]
    for bound in sockets:
        bound.close()
    threads = str(max(1, machine.usable_cores() // num_workers))
    return [
        {
            "TF_CONFIG": json.dumps(
                {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
            ),
            "TF_NUM_INTRAOP_THREADS": threads,
            "OMP_NUM_THREADS": threads,
            "PYTHONUNBUFFERED": "1",
        }
        for index in range(num_workers)
    ]


def _wait(workers: list[subprocess.Popen[bytes]], grace_seconds: float) -> int:
    received: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, frame: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    forwarded = 0
    deadline = None
    try:
        while any(worker.poll() is None for worker in workers):
            for number in received[forwarded:]:
                for worker in workers:
                    if worker.poll() is None:
                        worker.send_signal(number)
                deadline = time.monotonic() + grace_seconds
            forwarded = len(received)
            failed = _first_failed(workers)
            if failed is not None and not received:
                index, status = failed
                print(
                    f"{PROGRAM}: worker {index} ended with {_shown(status)}; ending the others",
                    file=sys.stderr,
                )
                _end(workers, signal.SIGTERM, min(10.0, grace_seconds))
                return _exit_status(status)
            if deadline is not None and time.monotonic() > deadline:
                print(
                    f"{PROGRAM}: workers did not end in {grace_seconds:.0f} s; killing them",
                    file=sys.stderr,
                )
                _end(workers, signal.SIGKILL, 0.0)
            time.sleep(_POLL_SECONDS)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    failed = _first_failed(workers)
    return command_line.DONE if failed is None else _exit_status(failed[1])


def _first_failed(workers: list[subprocess.Popen[bytes]]) -> tuple[int, int] | None:
    for index, worker in enumerate(workers):
        if worker.poll() not in (None, 0):
            return index, worker.returncode
    return None


def _end(workers: list[subprocess.Popen[bytes]], number: int, seconds: float) -> None:
    """Sends a signal to those still running; kills those that are so after `seconds`."""
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(number)
    deadline = time.monotonic() + seconds
    while any(worker.poll() is None for worker in workers) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    for worker in workers:
        if worker.poll() is None:
            worker.kill()
        worker.wait()


def _shown(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


def _exit_status(status: int) -> int:
    return 128 - status if status < 0 else status


def _prefix(stream: IO[bytes], target: IO[str], prefix: str) -> None:
    for line in stream:
        target.write(prefix + line.decode(errors="replace"))
        target.flush()


if __name__ == "__main__":
    sys.exit(main())

"""`python -m engine.data_service dispatcher|worker`: serves tf.data to `engine.train --data-service`.

One dispatcher hands out the work and any number of workers read shards for the training:

    python -m engine.data_service dispatcher --port 5050 --work-dir DIR
    python -m engine.data_service worker --dispatcher localhost:5050
    python -m engine.train SHARDS --workdir RUN \\
        --data-service grpc://localhost:5050

The dispatcher keeps its state in DIR: however it ends, it resumes when started again on the same port and
directory. Workers need the shards at the path that training names. Only this host may connect, unless
`--host NAME` says by what name others do; whoever may connect computes, and reads and writes files, as the
user who started it.
"""

import argparse
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.base import command_line, loopback, output_paths, progress
from engine.base.config import UserError
from engine.base.flag_parser import FlagParser
from engine.base.setting_values import check_service_address

PROGRAM = "python -m engine.data_service"
CONNECT_SECONDS = 30.0


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog=PROGRAM, description=__doc__)
    roles = parser.add_subparsers(dest="role", required=True, metavar="dispatcher|worker")
    dispatcher = roles.add_parser("dispatcher", help="hands out work to the workers")
    dispatcher.add_argument(
        "--port", type=_port, required=True, metavar="P", help="port to listen on"
    )
    dispatcher.add_argument(
        "--work-dir", type=Path, required=True, metavar="DIR", help="keeps what a restart needs"
    )
    _add_host(dispatcher)
    worker = roles.add_parser("worker", help="reads shards")
    worker.add_argument(
        "--dispatcher",
        type=_address,
        required=True,
        metavar="HOST:PORT",
        help="the dispatcher to work for",
    )
    worker.add_argument(
        "--port", type=_port, default=0, metavar="P", help="port to listen on (default: any)"
    )
    _add_host(worker)
    return parser


def _add_host(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        default="localhost",
        metavar="NAME",
        help="this host, as other hosts know it, which may then connect (default: localhost, and "
        "none may)",
    )


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    serve = _dispatcher if arguments.role == "dispatcher" else _worker
    return command_line.run(PROGRAM, lambda: _until_signalled(serve(arguments)))


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a port between 0 and 65535")
    return int(text)


def _address(text: str) -> str:
    address = text.removeprefix("grpc://")
    try:
        check_service_address(f"grpc://{address}")
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected HOST:PORT, such as localhost:5050"
        ) from None
    return address


def _dispatcher(arguments: argparse.Namespace) -> Any:
    _require_free(arguments.port)
    output_paths.require_directory(arguments.work_dir, "--work-dir")
    service = _tensorflow_service()
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    settings = service.DispatcherConfig(
        port=arguments.port, work_dir=str(arguments.work_dir), fault_tolerant_mode=True
    )
    server = _started(lambda: service.DispatchServer(settings), arguments.host, arguments.port)
    print(f"dispatcher at {server.target}, state in {arguments.work_dir}", flush=True)
    return server


def _worker(arguments: argparse.Namespace) -> Any:
    _require_free(arguments.port)
    service = _tensorflow_service()
    from engine.pipeline import service_input

    service_input.require_answer(arguments.dispatcher, CONNECT_SECONDS)
    port = "%port%" if arguments.port == 0 else str(arguments.port)
    settings = service.WorkerConfig(
        dispatcher_address=arguments.dispatcher,
        worker_address=f"{arguments.host}:{port}",
        port=arguments.port,
    )
    server = _started(lambda: service.WorkerServer(settings), arguments.host, arguments.port)
    print(f"worker of {arguments.dispatcher}", flush=True)
    return server


def _started(make: Callable[[], Any], host: str, port: int) -> Any:
    """A server of TensorFlow's, kept to this host unless others know it by name."""
    if not loopback.is_local([f"{host}:{port}"]):
        server = make()
        progress.say(loopback.warning([int(server._address.rpartition(":")[2])]))
        return server
    with loopback.confined() as open_ports:
        server = make()
    if open_ports:
        progress.say(loopback.warning(open_ports))
    return server


def _tensorflow_service() -> Any:
    progress.say("loading TensorFlow ...")
    with command_line.quiet_imports(), command_line.without_scikit_learn():
        import tensorflow as tf

        return tf.data.experimental.service


def _require_free(port: int) -> None:
    """Raises `UserError` if another program listens on `port`, which gRPC would share with it."""
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise UserError(
            f"--port {port}: cannot be listened on ({error.strerror}); give another"
        ) from error


def _until_signalled(server: Any) -> int:
    """Serves until a signal ends it."""
    try:
        while True:
            signal.pause()
    finally:
        server._stop()


if __name__ == "__main__":
    sys.exit(main())

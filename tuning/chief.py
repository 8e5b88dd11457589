"""The chief: serves one oracle to all workers, over KerasTuner's protocol.

KerasTuner's own chief waits forever for a worker that died, and up to 20 s at the end for the others.
Here, a worker on this host that dies is restarted and resumes its trial; the trial of a worker on
another host that stops sending heartbeats is given to another worker.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path

import grpc
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer

from engine.base import command_line, orphans, progress
from engine.base.config import UserError
from tuning import device_shares
from tuning.device_shares import Share
from tuning.oracles import Durable
from tuning.search_directory import SearchDirectory
from tuning.trial_process import GRACE_SECONDS, Stopped

MAX_RESTARTS = 3  # of one worker
SILENCE_SECONDS = 60.0  # without a heartbeat, after which a worker on another host counts as dead
_POLL_SECONDS = 0.2


def serve_this_host(
    oracle: Durable,
    directory: SearchDirectory,
    shards: Path,
    *,
    num_workers: int,
    num_gpus: int,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Starts workers on this host and serves them until the search is over.

    Raises:
        UserError: a worker says that the input is wrong.
        Stopped: `stop` became true; the running trials have saved their state.
        RuntimeError: every worker died more than `MAX_RESTARTS` times.
    """
    with _served(oracle, "127.0.0.1:0") as port:
        shares = device_shares.divide_host(num_workers, num_gpus=num_gpus)
        workers = [
            _Worker(f"tuner{place}", share, directory, shards, port)
            for place, share in enumerate(shares)
        ]
        try:
            _watch(workers, oracle, stop)
        finally:
            _end(workers)
    if stop():
        raise Stopped
    _check(workers)


def serve_hosts(
    oracle: Durable, directory: SearchDirectory, *, stop: Callable[[], bool] = lambda: False
) -> None:
    """Serves workers that were started elsewhere, until the search is over.

    Raises:
        UserError: the address in the environment cannot be listened on.
        Stopped: `stop` became true.
    """
    address = f"{os.environ['KERASTUNER_ORACLE_IP']}:{os.environ['KERASTUNER_ORACLE_PORT']}"
    heartbeats = _Heartbeats(directory.workers)
    with _served(oracle, address) as port:
        progress.say(f"chief: waiting for workers at {address.rpartition(':')[0]}:{port}")
        any_joined = False
        while not (any_joined and not oracle.workers()):
            if stop():
                raise Stopped
            any_joined = any_joined or bool(oracle.workers())
            for tuner_id in oracle.workers():
                if heartbeats.silence(tuner_id) > SILENCE_SECONDS:
                    trial = oracle.release(tuner_id)
                    progress.say(
                        f"worker {tuner_id} sent no heartbeat for {SILENCE_SECONDS:.0f} s; "
                        + (
                            f"another worker takes trial {trial}"
                            if trial
                            else "continuing without it"
                        )
                    )
            time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def _served(oracle: Durable, address: str) -> Iterator[int]:
    """Serves within the block; yields the port."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    protos.get_service_grpc().add_OracleServicer_to_server(OracleServicer(oracle), server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise UserError(f"KERASTUNER_ORACLE_IP, _PORT: cannot listen on {address}") from error
    server.start()
    try:
        yield port
        time.sleep(_POLL_SECONDS)  # lets the last reply go out
    finally:
        server.stop(grace=None)


class _Worker:
    """A worker process on this host, restarted when it dies."""

    def __init__(
        self, tuner_id: str, share: Share, directory: SearchDirectory, shards: Path, port: int
    ) -> None:
        self.tuner_id, self._share = tuner_id, share
        self.log = directory.workers / f"{tuner_id}.log"
        self._command = [
            *(sys.executable, "-m", "tuning.search", str(shards)),
            *("--workdir", str(directory.path), "--config", str(directory.config)),
            *("--space", str(directory.space)),
            # A worker runs one trial at a time; its share of the cores is too small for more.
            *("--num-workers", "1"),
        ]
        self._environment = {
            **os.environ,
            **share.environment,
            "KERASTUNER_TUNER_ID": tuner_id,
            "KERASTUNER_ORACLE_IP": "127.0.0.1",
            "KERASTUNER_ORACLE_PORT": str(port),
            # It has no state to save; its trial notices when it ends.
            **orphans.environment(grace_seconds=0),
        }
        self.restarts = 0
        self.process = self._start()

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return self.process.poll()

    def restart(self) -> None:
        """Restarts it under the same id, for which the oracle keeps its trial."""
        self.restarts += 1
        self.process = self._start()

    def last_line(self) -> str:
        """The last line of its log that is not empty."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")

    def _start(self) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Set before it starts threads: they and its trials inherit the affinity.
        os.sched_setaffinity(process.pid, self._share.cores)
        return process


def _watch(workers: Sequence[_Worker], oracle: Durable, stop: Callable[[], bool]) -> None:
    """Returns when all have ended: finished, stopped, or because one reports wrong input."""
    stopping = False
    while any(worker.status is None for worker in workers):
        if stop() and not stopping:
            stopping = True
            for worker in workers:
                if worker.status is None:
                    worker.process.terminate()
        for worker in workers:
            if worker.status == command_line.WRONG_INPUT:
                return
            if worker.status in (None, command_line.DONE) or stopping:
                continue
            if worker.restarts < MAX_RESTARTS:
                progress.say(f"worker {worker.tuner_id} ended ({_shown(worker)}); restarting it")
                worker.restart()
            elif worker.tuner_id in oracle.workers():
                progress.say(
                    f"worker {worker.tuner_id} ended {MAX_RESTARTS + 1} times; continuing without it"
                )
                oracle.release(worker.tuner_id)
        time.sleep(_POLL_SECONDS)


def _check(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        if worker.status == command_line.WRONG_INPUT:
            line = worker.last_line()
            raise UserError(line.partition("error: ")[2] or line)
    if not any(worker.status == command_line.DONE for worker in workers):
        worker = workers[0]
        raise RuntimeError(
            f"every worker died {MAX_RESTARTS + 1} times, {worker.tuner_id} with: "
            f"{worker.last_line()} (see {worker.log})"
        )


def _end(workers: Sequence[_Worker]) -> None:
    """Stops the workers that still run; they first get time to save."""
    deadline = time.monotonic() + GRACE_SECONDS
    for worker in workers:
        if worker.status is None:
            worker.process.terminate()
    while any(w.status is None for w in workers) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    for worker in workers:
        if worker.status is None:
            worker.process.kill()
            worker.process.wait()


def _shown(worker: _Worker) -> str:
    status = worker.status or 0
    ended = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
    return f"{ended}: {worker.last_line()}"


class _Heartbeats:
    """How long workers' heartbeat files have not changed, by this process's clock: hosts' clocks differ."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: dict[str, tuple[str, float]] = {}

    def silence(self, tuner_id: str) -> float:
        """Seconds since a change of a worker's heartbeat file was last seen."""
        try:
            text = (self._directory / f"{tuner_id}.alive").read_text(encoding="utf-8")
        except OSError:
            text = ""
        now = time.monotonic()
        before = self._seen.get(tuner_id)
        if before is None or before[0] != text:
            self._seen[tuner_id] = (text, now)
            return 0.0
        return now - before[1]

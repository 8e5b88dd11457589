"""The workers of a training and this one's place among them, as `TF_CONFIG` or a SLURM step names them."""

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from engine.base import loopback, progress
from engine.base.config import UserError

_SLURM_PORTS = 20_000  # the first of as many; a job takes those from its number on
_EXPECTED = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'


def num_workers() -> int:
    """How many workers the environment speaks of: `TF_CONFIG`, or a SLURM step; 1 for none.

    Raises:
        UserError: a variable is not what it should be.
    """
    if "TF_CONFIG" in os.environ:
        cluster, _ = _tf_config()
        return sum(len(cluster.get(kind, [])) for kind in ("chief", "worker"))
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if not (tasks.isascii() and tasks.isdigit() and int(tasks)):
        raise UserError(
            f"SLURM_STEP_NUM_TASKS: got {tasks!r}, expected the number of tasks, which srun sets; unset "
            "it to train in one process"
        )
    return int(tasks)


def join(*, on_gpu: bool) -> tuple[tf.distribute.Strategy, int, int]:
    """The strategy over all workers, which of them this process is, and how many there are.

    Returns once all have come. The chief is number 0.

    Raises:
        UserError: the environment names no workers, or not this one.
    """
    resolver = _resolver()
    workers = resolver.cluster_spec().as_dict()
    hosts = [*workers.get("chief", []), *workers.get("worker", [])]
    index = resolver.task_id
    if resolver.task_type == "worker":
        index += len(workers.get("chief", []))
    communication = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=communication.AUTO if on_gpu else communication.RING
    )
    with _server(hosts, index):
        strategy = tf.distribute.MultiWorkerMirroredStrategy(
            cluster_resolver=resolver, communication_options=options
        )
    # TensorFlow's preemption notifier has just put its own handler in place of Python's.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL)
    return strategy, index, len(hosts)


@contextlib.contextmanager
def _server(hosts: list[str], index: int) -> Iterator[None]:
    """Around the start of this worker's server: keeps it to this host where all workers are on it.

    From the moment on at which all have come: until then TensorFlow holds the interpreter's lock.
    `engine.launch` therefore gives workers a network of their own, where it can.
    """
    if not loopback.is_local(hosts):
        progress.say(loopback.warning([int(hosts[index].rpartition(":")[2])]))
        yield
        return
    with loopback.confined() as open_ports:
        yield
    if open_ports:
        progress.say(loopback.warning(open_ports))


def _resolver() -> Any:
    if "TF_CONFIG" in os.environ:
        _check_task(*_tf_config())
        return tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        return slurm_resolver()
    raise UserError(
        "--strategy multi_worker: neither TF_CONFIG nor a SLURM step names the workers; start "
        "them with python -m engine.launch, or set TF_CONFIG on each host"
    )


def _tf_config() -> tuple[dict[str, list[str]], Any]:
    """The cluster and the task of `TF_CONFIG`; None for a task that is not there."""
    try:
        config = json.loads(os.environ["TF_CONFIG"])
        cluster = config["cluster"]
        if not all(isinstance(hosts, list) for hosts in cluster.values()):
            raise TypeError("hosts")
        if not all(_is_address(host) for hosts in cluster.values() for host in hosts):
            raise ValueError("addresses")
        return cluster, config.get("task")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _refusal(f"expected {_EXPECTED}") from error


def _is_address(host: Any) -> bool:
    return isinstance(host, str) and host.rpartition(":")[2].isdigit() and ":" in host


def _check_task(cluster: dict[str, list[str]], task: Any) -> None:
    """Raises `UserError` unless the task is one of the cluster's."""
    task = task if isinstance(task, dict) else {}
    kind, index = task.get("type"), task.get("index")
    if kind not in ("chief", "worker") or not cluster.get(kind):
        raise _refusal(
            f'expected a "task" that says which worker this process is, as in {_EXPECTED}'
        )
    if type(index) is not int or not 0 <= index < len(cluster[kind]):
        raise _refusal(
            f'"index" of the task is {index!r}, expected 0 to {len(cluster[kind]) - 1}: the cluster has '
            f"{len(cluster[kind])} of type {kind}"
        )


def _refusal(reason: str) -> UserError:
    return UserError(f"TF_CONFIG: got {os.environ['TF_CONFIG']!r}; {reason}")


def slurm_resolver() -> Any:
    """The workers of a SLURM step; each has the GPUs that SLURM shows it (`--gpus-per-task`).

    TensorFlow's own count of GPUs fails where there is no nvidia-smi, and its ports are the same for all
    jobs, of which several may share a host.

    Raises:
        UserError: a variable of SLURM's is missing or not what it should be.
    """
    try:
        return tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=_SLURM_PORTS + int(os.environ.get("SLURM_JOB_ID", "0")) % _SLURM_PORTS,
            # These count tasks, no more: it gives out none, and has no task where it counts no GPU.
            gpus_per_node=num_workers(),
            gpus_per_task=1,
            auto_set_gpu=False,
        )
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"SLURM's variables do not tell the workers ({error}); "
            "start with srun, one task per worker"
        ) from error

"""What a run computes on: devices, distribution strategy, precision, XLA; what was chosen, and why.

Figures behind the choices (2 cores, TensorFlow 2.21, four-stage CNN): XLA on the CPU halves the
speed; bfloat16 convolutions are 2 times as fast with AVX512-BF16 and 2-5 times with AMX, except where
batch normalization eats the gain; float16 on the CPU takes tens of seconds per step.
"""

import contextlib
import dataclasses
import functools
import platform
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.data.ops import multi_device_iterator_ops

from engine.base import machine
from engine.base.config import UserError
from engine.base.processor import processor_flags
from engine.pipeline.dataset_options import untuned
from engine.pipeline.share import WHOLE, Share
from engine.training import cluster

_BATCHES_ON_GPU = 2  # copied ahead to each


@dataclasses.dataclass(frozen=True)
class Runtime:
    """Devices and modes a run was given.

    Attributes:
        strategy: where variables live and steps run.
        precision: a Keras dtype policy's name.
        jit_compile: whether the training step goes through XLA.
        summary: one line that says all of it, with reasons.
        worker: which of the job's workers this process is; 0 is the chief, who alone writes.
        num_workers: how many there are.
        on_gpu: whether steps run on GPUs.
    """

    strategy: tf.distribute.Strategy
    precision: str
    jit_compile: bool
    summary: str
    worker: int = 0
    num_workers: int = 1
    on_gpu: bool = False

    @property
    def num_replicas(self) -> int:
        """How many devices share each global batch."""
        return self.strategy.num_replicas_in_sync

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's files."""
        return self.worker == 0

    def distribute(self, make_dataset: Callable[[Share], tf.data.Dataset]) -> Iterator[Any]:
        """An iterator over global batches, shared out among the replicas.

        On GPUs TensorFlow copies the next batches to each while a step runs, two of them; in the CPU's
        memory there is nowhere to copy them to.

        Args:
            make_dataset: the batches of one share; whole batches for `WHOLE`.
        """
        options = tf.distribute.InputOptions(
            experimental_fetch_to_device=True,
            experimental_per_replica_buffer_size=_BATCHES_ON_GPU if self.on_gpu else 1,
        )
        if self.num_workers == 1:
            whole = make_dataset(WHOLE)
            with _untuned_devices():
                return iter(self.strategy.experimental_distribute_dataset(whole, options))
        local = self.num_replicas // self.num_workers
        share = Share(first=self.worker * local, count=local, of=self.num_replicas)
        # Of a dataset that might end, workers would ask one another before every step.
        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        with _untuned_devices():
            return iter(
                self.strategy.distribute_datasets_from_function(
                    lambda context: make_dataset(share).apply(endless), options
                )
            )

    def agreed(self, values: Iterable[float]) -> list[float]:
        """The chief's `values`, on every worker: decisions must be the same everywhere."""
        if self.num_workers == 1:
            return list(values)
        return [float(v) for v in self._chiefs(tf.constant(list(values), tf.float64)).numpy()]

    @functools.cached_property
    def _chiefs(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """float64[N] of each worker -> the chief's; traced once for all calls."""

        def of_chief(one: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            return tf.where(context.replica_id_in_sync_group == 0, one, tf.zeros_like(one))

        @tf.function(autograph=False, reduce_retracing=True)
        def summed(own: tf.Tensor) -> tf.Tensor:
            parts = self.strategy.run(of_chief, args=(own,))
            return self.strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None)

        return summed


@contextlib.contextmanager
def _untuned_devices() -> Iterator[None]:
    """Within the block, the iterators that TensorFlow opens on each device have no tuner (`dataset_options`).

    The options of a distributed dataset end on the host: what hands each device its part is a dataset of
    TensorFlow's own, with default options, and nothing public gives it others.
    """
    create = multi_device_iterator_ops._create_device_dataset

    def create_untuned(*arguments: Any) -> tf.data.Dataset:
        return create(*arguments).with_options(untuned())

    multi_device_iterator_ops._create_device_dataset = create_untuned
    try:
        yield
    finally:
        multi_device_iterator_ops._create_device_dataset = create


def prepare(
    *,
    precision: str,
    jit_compile: str,
    strategy: str,
    num_logical_devices: int,
    global_batch_size: int,
    precision_advice: str | None,
    seed: int,
    deterministic: bool,
) -> Runtime:
    """Chooses devices and modes, and sets the global seeds.

    Args:
        precision_advice: `Network.precision_advice` of the network that will be trained.

    Raises:
        UserError: the devices asked for are not there, or the batch does not divide among them.
    """
    if deterministic and cluster.num_workers() == 1:  # not tried with several
        _one_operation_at_a_time()
    devices = _devices(num_logical_devices)
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    if strategy == "auto" and cluster.num_workers() > 1:
        strategy = "multi_worker"
    if strategy == "multi_worker":
        chosen, worker, num_workers = cluster.join(on_gpu=on_gpu)
    else:
        chosen, worker, num_workers = _strategy(strategy, devices, on_gpu=on_gpu), 0, 1
    _check_divides(global_batch_size, chosen.num_replicas_in_sync)
    precision, why = choose_precision(precision, precision_advice)
    jit, why_jit = choose_jit(
        jit_compile,
        on_gpu=on_gpu,
        replicas=chosen.num_replicas_in_sync,
        deterministic=deterministic,
    )
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    replicas = chosen.num_replicas_in_sync
    each = f", {global_batch_size // replicas} images each" if replicas > 1 else ""
    workers = f"worker {worker} of {num_workers}: " if num_workers > 1 else ""
    summary = (
        f"{workers}{replicas} x {_device_name(on_gpu)}{each}; {precision} ({why}); "
        f"XLA {'on' if jit else 'off'} ({why_jit})"
    )
    return Runtime(chosen, precision, jit, summary, worker, num_workers, on_gpu)


def _one_operation_at_a_time() -> None:
    """Makes sums of gradients equal to the bit, which deterministic operations alone do not.

    With two operations at a time, float32 runs were seen to differ; with one they were equal. A cause that
    would fit: where three gradients or more are added, TensorFlow begins with one whose memory may be
    reused, which depends on what else has ended by then. It has to be told before it runs; in a process where it runs already, sums may differ in their last bit. Several GPUs are left as
    they are: one thread might wait for another GPU's part.
    """
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_inter_op_parallelism_threads(1)


def choose_precision(precision: str, advice: str | None) -> tuple[str, str]:
    """The dtype policy for `precision`, and the reason.

    Args:
        advice: `Network.precision_advice`.

    Returns:
        (policy name, reason), `auto` resolved by the GPU if there is one, else by the processor.

    Raises:
        UserError: float16 was asked for on the CPU, where it is unusably slow.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if precision == "mixed_float16" and not gpus:
        raise UserError(
            "--precision mixed_float16 takes tens of seconds per step on a CPU; "
            "use auto, float32 or mixed_bfloat16"
        )
    if precision != "auto":
        return precision, "as requested"
    if gpus:
        major, minor = tf.config.experimental.get_device_details(gpus[0]).get(
            "compute_capability", (0, 0)
        )
        name = f"compute capability {major}.{minor}"
        if major >= 8:
            return "mixed_bfloat16", name
        return ("mixed_float16", name) if major >= 7 else ("float32", name)
    flags = processor_flags()
    if "amx_bf16" in flags:
        return "mixed_bfloat16", "the processor has AMX"
    if "avx512_bf16" in flags:
        if advice is not None:
            return "float32", advice
        return "mixed_bfloat16", "the processor has AVX512-BF16"
    return "float32", "the processor has no bfloat16 units"


def choose_jit(
    jit_compile: str, *, on_gpu: bool, replicas: int, deterministic: bool
) -> tuple[bool, str]:
    """Whether the training step goes through XLA, and the reason.

    What the stack cannot do falls back to off, even where `on` was asked for. In TensorFlow 2.21 a
    step compiled for one of several devices reaches for variables of another and fails; with float16
    on several GPUs it crashes (keras issues 21366, 18666). All three precisions go with and without
    XLA on one device, and without it on several.
    """
    if jit_compile == "off":
        return False, "as requested"
    if replicas > 1:
        return False, "it cannot compile a step that several devices share"
    if deterministic:
        return False, "it has no deterministic gradient of a pooling"
    if jit_compile == "on":
        return True, "as requested"
    return (True, "one GPU") if on_gpu else (False, "it halves the speed on CPUs")


def describe_machine() -> dict[str, Any]:
    """Hardware and versions, for `environment.json` and reports."""
    return {
        "processor": _processor_name(),
        "cores": machine.usable_cores(),
        "memory_gib": round(machine.total_memory_bytes() / 2**30, 1),
        "devices": [device.name for device in tf.config.list_logical_devices()],
        "gpus": [
            tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in tf.config.list_physical_devices("GPU")
        ],
        "platform": platform.platform(),
        "versions": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
    }


def _devices(num_logical_devices: int) -> list[str]:
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        for gpu in gpus:
            with contextlib.suppress(RuntimeError):  # already initialised: leave it as it is
                tf.config.experimental.set_memory_growth(gpu, True)
        return [f"/gpu:{i}" for i in range(len(gpus))]
    if num_logical_devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        with contextlib.suppress(RuntimeError):  # raised once the devices are in use
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * num_logical_devices
            )
        present = len(tf.config.list_logical_devices("CPU"))
        if present < num_logical_devices:
            raise UserError(
                f"--num-logical-devices {num_logical_devices}: this process already runs on "
                f"{present}; set it before TensorFlow is first used"
            )
    return [f"/cpu:{i}" for i in range(num_logical_devices)]


def _strategy(name: str, devices: list[str], *, on_gpu: bool) -> tf.distribute.Strategy:
    if name == "auto":
        name = "mirrored" if len(devices) > 1 else "single"
    if name == "single":
        return tf.distribute.OneDeviceStrategy(devices[0])
    # Collectives on the CPU keep keys a process can use once only (a second model would fail with
    # a shape mismatch); reducing to one device does not.
    reduce = None if on_gpu else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=reduce)


def _check_divides(global_batch_size: int, replicas: int) -> None:
    if global_batch_size % replicas:
        raise UserError(
            f"--global-batch-size {global_batch_size} does not divide among {replicas} replicas; "
            f"the nearest that do are {nearest_multiples(global_batch_size, replicas)}"
        )


def nearest_multiples(size: int, unit: int) -> str:
    """`96 or 128`: the multiples of `unit` around `size`, 0 left out."""
    below = size // unit * unit
    return f"{below} or {below + unit}" if below else str(unit)


def _device_name(on_gpu: bool) -> str:
    if not on_gpu:
        return _processor_name()
    gpu = tf.config.list_physical_devices("GPU")[0]
    return tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()

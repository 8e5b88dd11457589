"""A host's cores and GPUs, divided among trials that run at the same time."""

import dataclasses
import math
import os
from collections.abc import Sequence

from engine.base import machine


@dataclasses.dataclass(frozen=True)
class Share:
    """What one of several concurrent trials may use.

    Attributes:
        cores: the numbers of the processor's cores.
        environment: variables that restrict TensorFlow to the share.
    """

    cores: tuple[int, ...]
    environment: dict[str, str]


def divide(
    count: int, *, cores: Sequence[int], gpus: Sequence[str], threads: int | None = None
) -> list[Share]:
    """One share for each of `count` trials.

    A share's cores are neighbours, as these share caches; if there are fewer cores than trials, trials
    share cores. GPUs are assigned in turn; trials that share a GPU allocate memory as they need it.

    Args:
        cores: the cores that this process may use.
        gpus: names as in CUDA_VISIBLE_DEVICES; if empty, the variable is left as it is.
        threads: how many threads all trials together may keep busy, if a quota allows fewer than there
            are cores.
    """
    shares = []
    for place in range(count):
        own = tuple(cores[place * len(cores) // count : (place + 1) * len(cores) // count])
        own = own or (cores[place % len(cores)],)
        allowed = len(own) if threads is None else math.ceil(threads * len(own) / len(cores))
        number = str(min(len(own), allowed))
        environment = {"OMP_NUM_THREADS": number, "TF_NUM_INTRAOP_THREADS": number}
        if gpus:
            assigned = gpus[place::count] or [gpus[place % len(gpus)]]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(assigned)
            if count > len(gpus):
                environment["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
        shares.append(Share(own, environment))
    return shares


def divide_host(count: int, *, num_gpus: int) -> list[Share]:
    """`divide` for this process's cores and the `num_gpus` GPUs that TensorFlow found."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    named = [name.strip() for name in visible.split(",") if name.strip()]
    gpus = (named or [str(number) for number in range(num_gpus)])[:num_gpus]
    cores = sorted(os.sched_getaffinity(0))
    return divide(count, cores=cores, gpus=gpus, threads=machine.usable_cores())

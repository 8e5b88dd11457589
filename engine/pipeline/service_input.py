"""Batches from tf.data service, in the same order as without it.

The workers of the service read; this process restores the order. Sent to them are a dataset of
numbers, each of which the dispatcher gives to one worker, and a pure function from a number to its
batch, in TensorFlow operations alone. It reads records by path and position, so workers need the
shards at the same path. They may answer in any order: batches wait here for their turn, and a batch
that does not arrive, because its worker was lost, is read here by the same function. So every image
is seen once per epoch, each step has the same batch as without the service, and resume works on any
number of replicas.

Augmentation is drawn here: that takes 5 us per image, and so does not depend on a worker's
processor.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow as tf

from engine.base import progress
from engine.base.config import UserError
from engine.base.python_calls import calls
from engine.pipeline.dataset_options import unconverted, untuned
from engine.pipeline.reading import make_record_reader
from engine.shards import tfrecords
from engine.shards.record_index import Places
from engine.shards.tfrecords import Manifest

CONNECT_SECONDS = 10.0
FIRST_BATCH_SECONDS = 60.0
PATIENCE_SECONDS = 10.0  # after which a batch is read here, its worker being regarded as lost
BATCHES_AHEAD = 16
_POLL_SECONDS = 0.1

Batch = tuple[np.ndarray, np.ndarray]  # uint8[B, H, W, C], int64[B]
_Read = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def make_batches(
    read: _Read,
    *,
    address: str,
    start: int,
    batch_size: int,
    image_shape: tuple[int, int, int],
    damage_named: Callable[[], AbstractContextManager[None]],
) -> tf.data.Dataset:
    """An endless dataset of `read(start)`, `read(start + 1)` and so on, computed by the service.

    Args:
        read: number, int64[] -> images uint8[B, H, W, C] and labels int64[B].
        address: `host:port` of the dispatcher.
        damage_named: the context in which records are read, see `StoredSplit.damage_named`.

    Raises:
        UserError: nothing listens at `address`, no worker can read the shards, or a record is
            damaged.
    """
    require_answer(address, CONNECT_SECONDS)
    graph = tf.function(read, autograph=False)

    def read_here(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with damage_named():
            return graph(number)

    reader = InOrder(lambda first: _from_service(read, address, first), read_here, start=start)
    with damage_named():
        reader.wait_for_first(f"tf.data service at {address}")

    @unconverted
    def batch_at(number: tf.Tensor) -> dict[str, tf.Tensor]:
        image, label = tf.numpy_function(reader.take, [number], [tf.uint8, tf.int64])
        image.set_shape([batch_size, *image_shape])
        label.set_shape([batch_size])
        return {"image": image, "label": label}

    return tf.data.Dataset.range(start, np.iinfo(np.int64).max).map(batch_at)


def make_reader(places: Places, manifest: Manifest) -> _Read:
    """A function from records' numbers, int64[B], to their images and labels, in pure operations.

    7,700 images/s at 224 x 224 on two cores; 3,500 through two workers on the cores of the
    training.
    """
    read_records = make_record_reader(places, manifest)

    def read(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = tfrecords.parse_batch(read_records(indices), manifest, features=("image", "label"))
        return parsed["image"], parsed["label"]

    return read


def _from_service(read: _Read, address: str, first: int) -> Iterator[tuple[int, Batch]]:
    """The batches from number `first` on, in the order in which the service has them ready."""
    service = tf.data.experimental.service
    numbered = (
        tf.data.Dataset.range(first, np.iinfo(np.int64).max)
        .map(
            unconverted(lambda number: (number, *read(number))), num_parallel_calls=tf.data.AUTOTUNE
        )
        .with_options(untuned())  # for the workers
        .apply(
            service.distribute(
                service.ShardingPolicy.DYNAMIC,
                f"grpc://{address}",
                max_outstanding_requests=BATCHES_AHEAD,
                compression=None,  # X-rays hardly shrink, and the training's host would unpack them
            )
        )
        .with_options(untuned())
    )
    for number, image, label in numbered:
        yield int(number), (image.numpy(), label.numpy())


def require_answer(address: str, seconds: float) -> None:
    """Raises `UserError` unless something listens at `address` within some seconds."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
            return
        except OSError as error:
            if time.monotonic() > deadline or isinstance(error, socket.gaierror):
                raise UserError(
                    f"tf.data service: nothing listens at {address} ({error}); start a dispatcher "
                    "there with python -m engine.data_service dispatcher"
                ) from error
        time.sleep(_POLL_SECONDS)


class InOrder:
    """Puts numbered batches in order, and computes those that do not arrive.

    Args:
        open_source: the batches from a number on, in any order; opened again when it fails.
        compute: the batch of a number, computed here.
        start: the first number that `take` will be called with.
        patience_seconds: how long to wait for the next batch if nothing arrives meanwhile.
        clock: monotonic seconds.
        say: takes lines for the user.
    """

    def __init__(
        self,
        open_source: Callable[[int], Iterator[tuple[int, Any]]],
        compute: _Read,
        *,
        start: int,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = progress.say,
    ) -> None:
        self._open_source, self._compute = open_source, compute
        self._patience, self._clock, self._say = patience_seconds, clock, say
        self._next = start
        self._held: dict[int, Any] = {}
        self._arrived = threading.Condition()
        self._error: Exception | None = None
        self._silent = self._delivered = False
        self._thread = threading.Thread(target=self._fill, name="service_input", daemon=True)

    def wait_for_first(self, source: str, seconds: float = FIRST_BATCH_SECONDS) -> None:
        """Starts reading and returns once a batch has arrived.

        Raises:
            UserError: the source fails, or yields nothing within `seconds`.
            DataLossError: it fails on a damaged record.
        """
        self._thread.start()
        with self._arrived:
            self._arrived.wait_for(lambda: self._held or self._error, seconds)
            if self._held:
                return
            self._next = -1  # ends the thread
        if isinstance(self._error, (tf.errors.NotFoundError, tf.errors.PermissionDeniedError)):
            raise UserError(
                f"{source}: a worker cannot read the shards ({_first_line(self._error)}); every worker "
                "needs them at the same absolute path"
            )
        if isinstance(self._error, tf.errors.DataLossError):
            raise self._error
        if self._error is not None:
            raise UserError(f"{source} failed: {_first_line(self._error)}")
        raise UserError(
            f"{source} sent no batch within {seconds:.0f} s; start a dispatcher there with python -m "
            "engine.data_service dispatcher, and workers with python -m engine.data_service worker"
        )

    def take(self, number: int) -> Any:
        """The batch of `number`; numbers must be consecutive."""
        with calls.one() as leaving:
            return (np.zeros(0, np.uint8), np.zeros(0, np.int64)) if leaving else self._take(number)

    def _take(self, number: int) -> Any:
        with self._arrived:
            self._drop_before(number)
            deadline = self._clock() + self._patience
            while number not in self._held and not self._is_lost() and not calls.leaving:
                if self._clock() > deadline:
                    self._silent = True
                    self._say(
                        f"the data service has sent nothing for {self._patience:.0f} s; reading here "
                        "until it does"
                    )
                elif self._arrived.wait(_POLL_SECONDS):
                    deadline = self._clock() + self._patience
            batch = self._held.pop(number, None)
            self._drop_before(number + 1)
        if batch is not None:
            return batch
        return tuple(part.numpy() for part in self._compute(tf.constant(number, tf.int64)))

    def _is_lost(self) -> bool:
        """Whether the next batch is not worth waiting for."""
        return self._silent or len(self._held) >= BATCHES_AHEAD

    def _drop_before(self, number: int) -> None:
        self._next = number
        for passed in [held for held in self._held if held < number]:
            del self._held[passed]
        self._arrived.notify_all()

    def _fill(self) -> None:
        """Reads as far ahead as there is room, until nobody takes batches any more."""
        while not calls.leaving and self._next >= 0:
            try:
                for number, batch in self._open_source(self._next):
                    if not self._keep(number, batch):
                        return
            except tf.errors.OpError as error:
                self._stand_in(error)
                time.sleep(self._patience)

    def _stand_in(self, error: tf.errors.OpError) -> None:
        with self._arrived:
            if self._delivered:
                self._say(f"the data service failed ({_first_line(error)}); reading here meanwhile")
            self._error = error
            self._silent = True
            self._arrived.notify_all()

    def _keep(self, number: int, batch: Any) -> bool:
        """Stores a batch; returns whether more are wanted."""
        with self._arrived:
            self._silent, self._delivered = False, True
            if number >= self._next >= 0:
                self._held[number] = batch
                self._arrived.notify_all()
            while len(self._held) >= BATCHES_AHEAD and not calls.leaving and self._next >= 0:
                self._arrived.wait(_POLL_SECONDS)
            return not calls.leaving and self._next >= 0


def _first_line(error: Exception) -> str:
    return str(getattr(error, "message", error)).strip().partition("\n")[0]

"""TensorFlow Datasets on the engine's shards with `.cache()` before shuffling, as in the TFDS guide.

Parsed uint8 examples stay in memory and are shuffled again each epoch, all of them.
"""

from collections.abc import Callable

from benchmarks.peers import BOTH_WAYS, MEMORY, Request, image_dataset, tfds_shards

TITLE = "TFDS on the same shards, cached"
REQUIRES = tfds_shards.REQUIRES
KIND = MEMORY
WAYS = BOTH_WAYS


def open(request: Request) -> Callable[[int], int]:
    """Epochs -> images; the first fills the cache."""
    examples = tfds_shards.make_dataset(request).cache()
    batches = tfds_shards.batched(examples, request, buffer=request.num_images)
    return image_dataset.epochs_of(batches, request)

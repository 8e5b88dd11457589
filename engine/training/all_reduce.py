"""Reductions among replicas whose tracing does not grow with the square of the network.

TensorFlow wraps each `ReplicaContext.all_reduce` into a custom gradient, and searches the graph behind it for
variables that it may use. The sum depends on the other replicas' graphs, so the search walks all that they
have traced so far, for each reduction anew: with the 49 synchronized batch normalizations of a ResNet50V2 on
two devices most of the tracing was spent there. A reduction uses no variables.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import custom_gradient

_reducing = threading.local()  # each replica is traced in a thread of its own


@contextlib.contextmanager
def without_search() -> Iterator[None]:
    """Within the block, reductions are traced without the search; whatever else searches, searches."""
    search = custom_gradient._get_dependent_variables
    owner = next(c for c in tf.distribute.ReplicaContext.__mro__ if "all_reduce" in vars(c))
    all_reduce = owner.all_reduce

    def search_outside(*arguments: Any, **options: Any) -> Any:
        return [] if getattr(_reducing, "depth", 0) else search(*arguments, **options)

    def all_reduce_marked(self: Any, *arguments: Any, **options: Any) -> Any:
        _reducing.depth = getattr(_reducing, "depth", 0) + 1
        try:
            return all_reduce(self, *arguments, **options)
        finally:
            _reducing.depth -= 1

    custom_gradient._get_dependent_variables = search_outside
    owner.all_reduce = all_reduce_marked
    try:
        yield
    finally:
        custom_gradient._get_dependent_variables = search
        owner.all_reduce = all_reduce

"""Options for every dataset that is iterated here or by a worker: tf.data's tuner is off.

When an iterator is deleted, it waits for the tuner to wake up, which sleeps for up to a minute:
with it, trainings hung for 30 to 70 s after their last epoch.
"""

import tensorflow as tf

# For the functions of datasets. They are plain operations; rewriting their source, as TensorFlow
# does for control flow, would cost half a second of every start.
unconverted = tf.autograph.experimental.do_not_convert


def untuned(*, rewrite: bool = True) -> tf.data.Options:
    """Options without the tuner.

    Args:
        rewrite: whether TensorFlow may rewrite the graph, which copies its tensors: a split in
            memory would be held twice.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = rewrite
    return options

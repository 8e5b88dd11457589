"""Options for every dataset that is iterated here or by a worker: none of them is tuned while it runs.

An iterator that goes waits for tf.data's tuner to wake, which sleeps for up to a minute: trainings stood
for 30 to 70 s behind their last epoch.
"""

import tensorflow as tf

# For the functions of datasets. They are plain operations; for TensorFlow to rewrite their source, as
# it would for control flow, costs half a second of every start.
unconverted = tf.autograph.experimental.do_not_convert


def untuned(*, rewrite: bool = True) -> tf.data.Options:
    """Options without the tuner.

    Args:
        rewrite: whether TensorFlow may rewrite the graph. That copies the tensors in it, so a split
            in memory would lie there twice.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = rewrite
    return options

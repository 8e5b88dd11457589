"""A tf.data high-throughput training engine for image classification from image folders.

Commands are modules of this package; everything else lies in packages that follow the data. A file
imports from its own package and from the rows below it, and imports make no circles (held by
tests/test_layers.py):

    commands    build_tfrecords train launch data_service evaluate predict explain demo_summary
    evaluation  a trained run measured on a split
    training    the loop, the compiled step, checkpoints, devices
    inference   a trained run at work: probabilities and explanations
    pipeline    shards to batches: order, tiers, augmentation
    networks    the networks and their layers
    runs        a run on disk: directory, figures, report
    shards      TFRecord shards: built, verified, repaired
    phantoms    images made by a procedure
    images      image folders and files, splits, decoding
    metrics     arrays in, figures and intervals out
    base        configurations, files, locks, progress, the machine, random numbers

Importing the package imports none of them, and no TensorFlow.
"""

__version__ = "0.1.0"

"""A tf.data high-throughput training engine for image classification from image folders.

Layers, each importing only from rows below its own (held by tests/test_layers.py):

    commands  phantoms build_tfrecords train evaluate predict explain export
    runs      trainer
    parts     input_pipeline augmentation models callbacks evaluation plots runtime report
    formats   image_folder tfrecords run_directory
    ground    config command_line decoding files progress

Importing the package imports none of them, and no TensorFlow.
"""

__version__ = "0.1.0"

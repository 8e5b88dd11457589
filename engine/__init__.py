"""A tf.data high-throughput training engine for image classification from image folders.

Layers, each importing only from rows below its own (held by tests/test_layers.py):

    commands  phantoms build_tfrecords train launch data_service evaluate predict explain export
              demo_summary
    runs      trainer builder
    parts     input_pipeline service_input batch_order augmentation counter_random models
              optimization training_step step_blocks callbacks resuming runtime
              evaluation bootstrap predictor explanation image_files plots preview report
              phantom_images phantom_folder shifts decode_pool diagnosis environment
    formats   image_folder split_plan tfrecords record_index build_journal run_directory checkpoints
    ground    config settings command_line decoding bit_depth files locks progress python_calls

Importing the package imports none of them, and no TensorFlow.
"""

__version__ = "0.1.0"

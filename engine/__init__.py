"""A tf.data high-throughput training engine for image classification from image folders.

Layers, each importing only from rows below its own (held by tests/test_layers.py):

    commands  phantoms build_tfrecords train launch data_service evaluate predict explain
              demo_summary
    runs      trainer builder
    parts     input_pipeline windowed_streaming service_input batch_order augmentation
              counter_random models optimization weight_averaging training_step step_blocks callbacks
              resuming runtime evaluation evaluation_files bootstrap intervals predictions curves
              thresholds calibration predictor explanation image_files
              plots preview report phantom_images phantom_folder shifts decode_pool diagnosis environment
              dataset_checks train_arguments cluster dataset_options
    formats   image_folder split_plan manifest tfrecords record_scan record_index build_journal
              build_checks run_directory checkpoints data_identity
    ground    config settings flag_parser command_line decoding bit_depth files locks loopback
              machine orphans progress python_calls schema csv_rows

Importing the package imports none of them, and no TensorFlow.
"""

__version__ = "0.1.0"

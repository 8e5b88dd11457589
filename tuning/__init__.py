"""KerasTuner searches over the settings of `engine.train`; each trial is a training in its own process.

Layers, as in `engine`, whose rows they share (held by tests/test_layers.py):

    commands  search trial
    runs      session chief worker repeats held_out report
    parts     tuner oracles trial_process checks pruning leaderboard live_table figures hparams_log
              device_shares
    formats   search_directory trial_files
    ground    settings search_space arguments

Importing the package imports none of them, and neither TensorFlow nor KerasTuner.
"""

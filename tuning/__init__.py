"""KerasTuner searches over the settings of `engine.train`, each trial in a process of its own.

    commands  search            the search, its chief, and its workers
              trial             one trial, started by the search
    runs      session           a whole search: trials, seeds, comparison, report
              chief worker      KerasTuner's chief and workers
              repeats held_out  the top trials under more seeds; the winner on the test split
    parts     tuner oracles     KerasTuner's loop and its oracles, made durable
              trial_process     starts a trial's process and says how it ended
              checks pruning leaderboard live_table report figures hparams_log
    formats   search_directory trial_files
    ground    settings search_space

Importing the package imports none of them, and neither TensorFlow nor KerasTuner.
"""

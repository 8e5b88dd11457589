"""Trainings on logical devices, which a process sets up once: each in a process of its own.

One process imports TensorFlow, which takes 3 s, and forks, before anything has run, a child for each.
"""

import json
import subprocess
import sys
from pathlib import Path

_FORKS = """
import json, os, sys
from engine.training import trainer
from engine.base.settings import TrainConfig

shards, directory, *configs = sys.argv[1:]
for number, config in enumerate(configs):
    child = os.fork()
    if not child:
        try:
            config = TrainConfig.from_json(json.loads(config))
            result = trainer.train(config, shards, f"{directory}/{number}", say=lambda line: None)
            print(json.dumps([[row["loss"], row["val_loss"]] for row in result.history]), flush=True)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)
"""


def losses(shards, directory, device_counts, **settings):
    """Trains on each number of devices, for two epochs; (loss, val_loss) of these, float[N][2][2]."""
    fixed = {"epochs": 2, "global_batch_size": 16, "depth": 2, "width": 4, "precision": "float32"}
    configs = [
        json.dumps({**fixed, **settings, "num_logical_devices": count}) for count in device_counts
    ]
    done = subprocess.run(
        [sys.executable, "-c", _FORKS, shards, directory, *configs],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return [json.loads(line) for line in done.stdout.splitlines()]

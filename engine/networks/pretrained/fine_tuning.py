"""The settings of training that pretrained networks take where the user gives none.

The classifier alone is solved for, on statistics of all blocks: better on other series than training all of
the network, and done after one look at each image (benchmarks/NOTES.md). With more epochs the body joins, at
rates that do not undo within an epoch what ImageNet taught.
"""

from collections.abc import Mapping
from typing import Any

DEFAULTS: Mapping[str, Any] = {
    "epochs": 1,
    "freeze_epochs": 1,
    "head_solver": "lbfgs",
    "learning_rate": 1e-4,
    "warmup_epochs": 1.0,
}

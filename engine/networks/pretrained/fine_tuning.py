"""The settings of training that pretrained networks take where the user gives none."""

from collections.abc import Mapping
from typing import Any

# Rates that suit random weights undo what ImageNet taught within an epoch.
DEFAULTS: Mapping[str, Any] = {"epochs": 8, "learning_rate": 3e-4, "warmup_epochs": 1.0}

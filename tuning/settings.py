"""The settings of a search: how it looks for the best, beside what every trial trains with."""

import dataclasses

from engine.base.config import FREE, UserError, setting
from engine.base.settings import TrainConfig

OBJECTIVES = ("val_auroc", "val_accuracy", "val_loss", "accuracy", "loss")
DEFAULT_MAX_TRIALS = 12  # of random and Bayesian search; Hyperband and grid end by themselves
_MONITORED = ("val_auroc", "val_accuracy", "val_loss")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig(TrainConfig):
    """How the search chooses its trials and runs them.

    What may differ when a search is resumed decides when it ends, where trials run and what is done
    afterwards, but not which trials there are nor what they compute.
    """

    tuner: str = setting(
        "bayesian",
        choices=("bayesian", "random", "hyperband", "grid"),
        help="how the next trial is chosen, by KerasTuner",
    )
    max_trials: int | None = setting(
        None,
        minimum=1,
        help="trials at most; none: 12, or all that hyperband and grid have. A larger number "
        "continues a finished search",
        on_resume=FREE,
    )
    objective: str = setting(
        "val_auroc",
        choices=OBJECTIVES,
        help="what decides, at the trial's best epoch; losses are minimized, all else maximized",
    )
    pruning: str = setting(
        "median",
        choices=("median", "none"),
        help="end trials that are behind the median of earlier ones at the same epoch (hyperband "
        "halves by itself instead)",
    )
    pruning_warmup_trials: int = setting(
        4, minimum=1, help="trials that must be complete before any is pruned"
    )
    pruning_warmup_epochs: int = setting(
        2, minimum=0, help="epochs that every trial is given before it may be pruned"
    )
    max_failures: int = setting(
        5,
        minimum=1,
        help="end the search when so many trials in a row have failed",
        on_resume=FREE,
    )
    num_workers: int = setting(
        1,
        minimum=1,
        maximum=256,
        help="trials at a time on this host, its cores or GPUs divided",
        on_resume=FREE,
    )
    num_seeds: int = setting(
        1,
        minimum=1,
        help="train the top trials with this many seeds each, and choose by the mean",
        on_resume=FREE,
    )
    top: int = setting(
        3, minimum=1, help="how many trials --num-seeds trains again", on_resume=FREE
    )
    compare_default: bool = setting(
        False,
        help="at the end, measure the winner and the default configuration on the test split",
        on_resume=FREE,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strategy == "multi_worker":
            raise UserError(
                "--strategy multi_worker: a trial runs on one host; give --num-workers for many trials "
                "at a time"
            )

    @property
    def trial_limit(self) -> int | None:
        """How many trials there are at most; None where the oracle ends by itself."""
        if self.max_trials is None and self.tuner in ("bayesian", "random"):
            return DEFAULT_MAX_TRIALS
        return self.max_trials

    @property
    def prunes(self) -> bool:
        """Whether trials behind the median end early."""
        return self.pruning == "median" and self.tuner != "hyperband"

    def train_config(self, **changes: object) -> TrainConfig:
        """What one trial trains with.

        The best epoch is that of the objective where the trainer can monitor it, and of `monitor` where
        the objective is a training metric.

        Args:
            changes: the trial's own settings.

        Raises:
            UserError: a value is not one the setting takes.
        """
        names = {field.name for field in dataclasses.fields(TrainConfig)}
        values = {name: value for name, value in self.to_json().items() if name in names}
        if self.objective in _MONITORED:
            values["monitor"] = self.objective
        return TrainConfig.from_json({**values, **changes})

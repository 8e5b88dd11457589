"""The settings of a search: how it searches, and the settings that all trials share."""

import dataclasses

from engine.base.config import FREE, UserError, setting
from engine.base.settings import TrainConfig
from engine.networks import registry

OBJECTIVES = ("val_auroc", "val_accuracy", "val_loss", "accuracy", "loss")
DEFAULT_MAX_TRIALS = (
    12  # of random and Bayesian search; Hyperband and grid search end by themselves
)
_MONITORED = ("val_auroc", "val_accuracy", "val_loss")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig(TrainConfig):
    """How the search chooses its trials and runs them.

    Settings that may change when a search is resumed decide when it ends, where trials run and what
    follows them, but not which trials there are or what they compute.
    """

    tuner: str = setting(
        "bayesian",
        choices=("bayesian", "random", "hyperband", "grid"),
        help="the KerasTuner algorithm that chooses the next trial",
    )
    max_trials: int | None = setting(
        None,
        minimum=1,
        help="maximum number of trials; none: 12, or for hyperband and grid all that they have. A "
        "larger number continues a finished search",
        on_resume=FREE,
    )
    objective: str = setting(
        "val_auroc",
        choices=OBJECTIVES,
        help="the metric that decides, at a trial's best epoch; losses are minimized, others maximized",
    )
    pruning: str = setting(
        "median",
        choices=("median", "none"),
        help="end a trial early if it is behind the median of earlier trials at the same epoch "
        "(hyperband has its own rule instead)",
    )
    pruning_warmup_trials: int = setting(
        4, minimum=1, help="number of completed trials before any is pruned"
    )
    pruning_warmup_epochs: int = setting(
        2, minimum=0, help="epochs that every trial runs before it may be pruned"
    )
    max_failures: int = setting(
        5,
        minimum=1,
        help="end the search after this many failed trials in a row",
        on_resume=FREE,
    )
    num_workers: int = setting(
        1,
        minimum=1,
        maximum=256,
        help="number of concurrent trials on this host; they divide its cores and GPUs",
        on_resume=FREE,
    )
    num_seeds: int = setting(
        1,
        minimum=1,
        help="train the top trials with this many seeds each and choose the winner by the mean",
        on_resume=FREE,
    )
    top: int = setting(
        3, minimum=1, help="number of top trials that --num-seeds trains again", on_resume=FREE
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
                "--strategy multi_worker: a trial runs on one host; use --num-workers for concurrent "
                "trials"
            )

    @property
    def trial_limit(self) -> int | None:
        """The maximum number of trials; None if the oracle ends by itself."""
        if self.max_trials is None and self.tuner in ("bayesian", "random"):
            return DEFAULT_MAX_TRIALS
        return self.max_trials

    @property
    def prunes(self) -> bool:
        """Whether trials behind the median end early."""
        return self.pruning == "median" and self.tuner != "hyperband"

    def train_config(self, **changes: object) -> TrainConfig:
        """The configuration of one trial.

        The trainer monitors the objective if it can, and `monitor` if the objective is a training metric.

        Args:
            changes: the trial's own settings.

        Raises:
            UserError: a setting does not take its value.
        """
        names = {field.name for field in dataclasses.fields(TrainConfig)}
        values = {name: value for name, value in self.to_json().items() if name in names}
        if self.objective in _MONITORED:
            values["monitor"] = self.objective
        network = registry.resolve(self.model)
        own = registry.sorted_settings(network, changes)
        fixed = values.pop("model_settings")
        values |= {**own, "model_settings": {**fixed, **own.get("model_settings", {})}}
        return registry.checked(network, TrainConfig.from_json(values))

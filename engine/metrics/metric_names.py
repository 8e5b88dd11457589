"""Which metrics an evaluation holds: of any number of classes, of one class, and of two classes alone."""

# In every stored evaluation. What was added since is absent from those of earlier versions.
FIRST_CLASS_METRICS = (
    "auroc",
    "average_precision",
    "sensitivity",
    "specificity",
    "precision",
    "recall",
    "f1",
)
FIRST_METRICS = ("loss", "accuracy", "balanced_accuracy", *FIRST_CLASS_METRICS, "brier")

# Of one class against the others. Means of these over classes mean nothing.
ONE_CLASS_METRICS = (
    "likelihood_ratio_positive",
    "likelihood_ratio_negative",
    "calibration_slope",
    "calibration_intercept",
    "calibration_in_the_large",
)
AVERAGED_METRICS = (
    *FIRST_CLASS_METRICS,
    "ppv",
    "npv",
    "auroc_delong",
    "auroc_bootstrap",
)
# Of each class.
CLASS_METRICS = (*AVERAGED_METRICS, *ONE_CLASS_METRICS)
# Over all, of any number of classes.
METRICS = (
    "loss",
    "accuracy",
    "balanced_accuracy",
    *AVERAGED_METRICS,
    "brier",
    "scaled_brier",
    "mcc",
    "kappa",
)
# Weighted by the examples of each class, beside the plain means, of more than two classes.
WEIGHTED_METRICS = FIRST_CLASS_METRICS


def overall(num_classes: int) -> tuple[str, ...]:
    """The metrics over all: of two classes, those of the positive one too."""
    return (*METRICS, *ONE_CLASS_METRICS) if num_classes == 2 else METRICS

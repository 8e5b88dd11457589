"""What terminal and report say of an evaluation's predictive values and calibration, in sentences."""

from engine.metrics.evaluation import Evaluation


def prevalence_note(result: Evaluation) -> str:
    """For which shares of the classes predictive values hold."""
    where = "Precision, PPV and NPV depend on how frequent a class is"
    if result.per_class:
        return (
            f"{where}: those by class above hold for the shares of these images, the last ones for the "
            "shares given. The calls are the same."
        )
    share = result.confusion[1].sum() / result.confusion.sum()
    return (
        f"{where}: those of all images above hold for a share of {share:.1%}, as here. At others, Bayes' "
        "rule with the same sensitivity and specificity."
    )


def calibration_text(result: Evaluation) -> str | None:
    """The calibration errors in a sentence; None of results that lack parts of it."""
    bins = result.reliability
    if bins.equal_mass_error is None or bins.error_by_chance is None:
        return None
    return (
        f"calibration error {bins.expected_calibration_error:.3f} over bins of equal width, "
        f"{bins.equal_mass_error:.3f} over bins of equal counts; {bins.error_by_chance:.3f} is what "
        "perfect calibration would show on so many images by chance"
    )

"""The part of an evaluation's section in `report.md` on calibration, and on what labelled images would give."""

from collections.abc import Sequence

from engine.metrics.evaluation import Evaluation
from engine.runs import markdown


def section(result: Evaluation) -> list[str]:
    """How far probabilities come true, for which shares of the classes they hold, and recalibration."""
    bins = result.reliability
    beside = ""
    if bins.equal_mass_error is not None and bins.error_by_chance is not None:
        beside = (
            f" ({bins.equal_mass_error:.3f} over bins of equal counts; {bins.error_by_chance:.3f} is what "
            "perfect calibration would show on so many images by chance)"
        )
    error = bins.expected_calibration_error
    parts = [f"Expected calibration error: {error:.3f}{beside}.{_calibrated(result)}"]
    if result.recalibration is not None:
        parts.append("#### Recalibration")
        parts.append(markdown.text(result.recalibration.account()))
        parts.append(markdown.table(result.recalibration.heads(), result.recalibration.rows()))
    return parts


def _calibrated(result: Evaluation) -> str:
    """The temperature, and the shares that probabilities are given for; empty where none is known."""
    if result.subject is None or result.subject.calibration is None:
        return ""
    calibration = result.subject.calibration
    text = f" Log-odds are divided by {calibration.temperature:.2f}, which was fitted on validation"
    if result.subject.prevalence is not None:
        shares = _shares(result.class_names, result.subject.prevalence)
        return f"{text}; probabilities are for a prevalence of {shares}."
    if calibration.prior is None:
        return f"{text}."
    return f"{text}; probabilities are for {_shares(result.class_names, calibration.prior)}."


def _shares(class_names: Sequence[str], shares: Sequence[float]) -> str:
    """`0.25 NORMAL, 0.75 PNEUMONIA`."""
    if len(class_names) != len(shares):
        return "the shares of the run's classes"
    named = zip(class_names, shares, strict=True)
    return ", ".join(f"{share:.3g} {markdown.text(name)}" for name, share in named)

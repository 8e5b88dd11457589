"""The cuts of `--at-specificity` and `--at-sensitivity`, and those of them that were chosen on validation.

A run's own validation split, measured with `--split validation`, leaves the cuts that it chose in its
`metrics.json`. Evaluations of other data by the same model then use them too, beside the cuts chosen on what
they measure.
"""

from collections.abc import Iterator

from engine.base.config import UserError
from engine.base.run_settings import EvaluateConfig
from engine.base.setting_values import parse_rates
from engine.metrics.evaluation import Evaluation
from engine.metrics.operating_points import HERE
from engine.metrics.subject import Subject
from engine.metrics.temperature import Calibration
from engine.runs import stored_evaluations
from engine.runs.contract import InferenceContract
from engine.runs.run_directory import RunDirectory


def rules(settings: EvaluateConfig) -> list[str]:
    """`specificity=0.9`, `sensitivity=0.95`: the rules that the settings ask for."""
    texts = {"specificity": settings.at_specificity, "sensitivity": settings.at_sensitivity}
    return [f"{kept}={rate:g}" for kept, text in texts.items() for rate in parse_rates(text)]


def chosen_on_validation(
    run: RunDirectory, subject: Subject, used: InferenceContract, identity: str | None
) -> dict[tuple[str, str], float]:
    """(class, rule) -> the threshold that it led to on validation; nothing where validation is measured.

    Of two classes, thresholds are moved along with the prevalence, as the run's own is. With more, those of a
    prevalence are not known.

    Args:
        subject: what is measured now.
        used: the run's contract; the rule of its own threshold may be one that is asked for. It was chosen
            on plain outputs, so it is none of `--flip-average`.
        identity: that of the data which the run was trained on.
    """
    if subject.split == "validation" and subject.identity == identity:
        return {}
    if subject.prevalence is not None and not used.is_binary:
        return {}
    found: dict[tuple[str, str], float] = {}
    for result in _of_validation(run, subject, identity):
        found |= {
            (point.class_name, point.rule): point.threshold
            for point in result.operating_points
            if point.chosen_on == HERE and point.threshold is not None
        }
    own = used.is_binary and not subject.flip_average
    if own and used.threshold is not None and used.threshold_rule is not None:
        found[used.class_names[1], used.threshold_rule] = used.threshold
    if subject.prevalence is None:
        return found
    calibration = used.calibration or Calibration()
    return {key: calibration.threshold(cut, subject.prevalence) for key, cut in found.items()}


def _of_validation(
    run: RunDirectory, subject: Subject, identity: str | None
) -> Iterator[Evaluation]:
    """The run's evaluations of its validation split by the same model, at its prior, in the same way."""
    for name in stored_evaluations.names(run):
        try:
            result = stored_evaluations.read(run.evaluation(name))
        except UserError:
            continue
        before = result.subject
        if (
            before is not None
            and (before.split, before.identity, before.model)
            == ("validation", identity, subject.model)
            and (before.averaged, before.flip_average) == (subject.averaged, subject.flip_average)
            and before.calibration == subject.calibration
            and before.prevalence is None
            and before.classes is None
        ):
            yield result

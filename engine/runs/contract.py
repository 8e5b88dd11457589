"""The inference contract of a run: all that is needed to use its model, in one file.

`RUN/inference.json` is written when a run starts, and completed when its model is calibrated and
the decision threshold chosen. Predicting, evaluating and explaining read it, and nothing else in
the run decides how they work: `environment.json` and `threshold.json` are records of what
happened. Needs no TensorFlow.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from engine.base import files, schema
from engine.base.config import UserError
from engine.base.schema import Rule, SchemaError
from engine.images.format import ImageFormat
from engine.metrics.temperature import Calibration
from engine.runs.run_directory import RunDirectory

FORMAT_VERSION = 1
HIGHEST_THRESHOLD = math.nextafter(1, math.inf)  # calls no image positive, not even at 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferenceContract:
    """How a run's model is used.

    Attributes:
        image_format: how image files become the model's input.
        class_names: by label; 1 is the positive class of two.
        threshold: the least calibrated probability of the positive class that is called positive;
            None with more than two classes, and until it is chosen.
        threshold_rule: the rule by which it was chosen on the validation split.
        calibration: how the model's own log-odds become calibrated ones; None until it is fitted,
            and of a run of an earlier version, whose probabilities are the model's own.
        model: the digest of the model that threshold and calibration belong to
            (`RunDirectory.model_digest`).
    """

    image_format: ImageFormat
    class_names: tuple[str, ...]
    threshold: float | None = None
    threshold_rule: str | None = None
    calibration: Calibration | None = None
    model: str | None = None

    @property
    def is_binary(self) -> bool:
        """Two classes: one probability, and a threshold."""
        return len(self.class_names) == 2

    @property
    def positive_class(self) -> str | None:
        """The class whose probability a two-class run gives; None with more classes."""
        return self.class_names[1] if self.is_binary else None

    def to_json(self) -> dict[str, Any]:
        """The contents of `inference.json`."""
        return {
            "format_version": FORMAT_VERSION,
            **dataclasses.asdict(self),
            "image_format": self.image_format.to_json(),
            "class_names": list(self.class_names),
            "calibration": None if self.calibration is None else self.calibration.to_json(),
        }

    @classmethod
    def from_json(cls, values: Any) -> "InferenceContract":
        """The inverse of `to_json`.

        Raises:
            SchemaError: a value is missing, unknown, or out of its range.
        """
        if isinstance(values, dict):
            values = {**_ADDED_LATER, **values}
        schema.require(values, _RULES)
        fields = {name: value for name, value in values.items() if name != "format_version"}
        calibration = values["calibration"]
        if calibration is not None:
            calibration = Calibration.from_json(calibration, where="calibration.")
            if calibration.prior and len(calibration.prior) != len(values["class_names"]):
                raise SchemaError("calibration.prior: expected a share for each class")
        return cls(
            **{
                **fields,
                "image_format": ImageFormat.from_json(
                    values["image_format"], where="image_format."
                ),
                "class_names": tuple(values["class_names"]),
                "calibration": calibration,
            }
        )


def read(run: RunDirectory) -> InferenceContract:
    """The contract of a run; without threshold and calibration where they are of an earlier model.

    Several runs that have no contract for their models as they are now are averaged at one prior,
    and decide by the mean of their thresholds: see `_combined`.

    Raises:
        UserError: as `stored`, or some of several runs are calibrated, or know their prior, and
            others are not.
    """
    if run.members and not run.has_contract:
        return _combined(run, [read(member) for member in run.members])
    found = stored(run)
    if run.members and found.model != run.model_digest():
        return _combined(run, [read(member) for member in run.members])
    is_bare = found.threshold is None and found.calibration is None
    if is_bare or found.model == run.model_digest():
        return found
    return _uncompleted(found)


def stored(run: RunDirectory) -> InferenceContract:
    """The contract as the file has it, for its image format and classes.

    That of runs which are given together has nothing else.

    Threshold and calibration may be those of an earlier model: whether they are, `read` finds out
    from all weights (0.4 s for those of a ResNet50).

    Raises:
        UserError: the file is missing or damaged, or of another version.
    """
    if run.members and not run.has_contract:
        return _agreed(run, [stored(member) for member in run.members])
    if not run.has_contract:
        raise UserError(
            f"{run.path}: holds no {run.inference.name}, which says what images the model takes; "
            "expected a run of this version of engine.train (its --resume writes a lost one again)"
        )
    try:
        return InferenceContract.from_json(files.read_json(run.inference))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{run.inference}: damaged ({error}); "
            "continue the training with engine.train --resume, which writes it again"
        ) from error


def begin(run: RunDirectory, contract: InferenceContract) -> None:
    """Writes the contract of a run that starts, not completed; a resumed run keeps its own."""
    try:
        before = stored(run)
    except UserError:
        before = None
    if before is None or _uncompleted(before) != _uncompleted(contract):
        _write(run, _uncompleted(contract))


def complete(
    run: RunDirectory,
    *,
    threshold: float | None = None,
    threshold_rule: str | None = None,
    calibration: Calibration | None = None,
) -> InferenceContract:
    """Adds the run's model as it is now, and the calibration and threshold that belong to it.

    Raises:
        UserError: the contract is missing or damaged.
    """
    contract = dataclasses.replace(
        stored(run),
        threshold=threshold,
        threshold_rule=threshold_rule,
        calibration=calibration,
        model=run.model_digest(),
    )
    _write(run, contract)
    return contract


def _combined(run: RunDirectory, found: Sequence[InferenceContract]) -> InferenceContract:
    """What holds for the average of several runs: format, classes, prior, and the mean threshold.

    The members' outputs are calibrated before they are averaged, so that the temperature is 1, and
    brought to the prior given here: their own, or one of equal shares where they differ. The mean
    of thresholds is taken of log-odds, as that of the outputs is: an image is positive where the
    members' log-odds are, on average, above their own thresholds.

    Raises:
        UserError: the runs take other images, or name other classes, or are not all calibrated.
    """
    first = dataclasses.replace(_agreed(run, found), calibration=_shared_calibration(run, found))
    chosen = [contract.threshold for contract in found if contract.threshold is not None]
    if len(chosen) < len(found):
        return first
    if first.calibration is not None:
        prior = first.calibration.prior
        own = [contract.calibration or Calibration() for contract in found]
        chosen = [each.threshold(value, prior) for each, value in zip(own, chosen, strict=True)]
    rules = sorted({str(contract.threshold_rule) for contract in found})
    return dataclasses.replace(
        first,
        threshold=_mean_threshold(chosen),
        threshold_rule=f"mean of {len(found)} runs by {', '.join(rules)}",
        model=run.model_digest(),
    )


def _agreed(run: RunDirectory, found: Sequence[InferenceContract]) -> InferenceContract:
    """The image format and the classes of several runs, and nothing else.

    Raises:
        UserError: the runs take other images, or name other classes.
    """
    first = _uncompleted(found[0])
    for member, other in zip(run.members, found, strict=True):
        for name in ("class_names", "image_format"):
            if getattr(other, name) != getattr(first, name):
                raise UserError(
                    f"{member.path}: its {name.replace('_', ' ')} are {getattr(other, name)}, "
                    f"those of {run.members[0].path} are {getattr(first, name)}; runs that are "
                    "averaged must agree"
                )
    return first


def _shared_calibration(
    run: RunDirectory, found: Sequence[InferenceContract]
) -> Calibration | None:
    """The calibration of the average, whose prior is that which members are brought to.

    Returns:
        None if no run is calibrated; without a prior if no run knows its own.

    Raises:
        UserError: only some of the runs are calibrated, or know their prior.
    """
    calibrations = [contract.calibration for contract in found]
    known = [calibration for calibration in calibrations if calibration is not None]
    if not known:
        return None
    if len(known) < len(found):
        yes, no = _one_of_each(run, [calibration is not None for calibration in calibrations])
        raise UserError(
            f"{no}: its probabilities are not calibrated, those of {yes} are; runs that are "
            "averaged must agree (engine.train --resume on the same run calibrates it when it ends)"
        )
    priors = [calibration.prior for calibration in known]
    if len(set(priors)) == 1:
        return Calibration(prior=priors[0])
    if None in priors:
        yes, no = _one_of_each(run, [prior is not None for prior in priors])
        raise UserError(
            f"{no}: does not say which share of each class its training implied, {yes} does; runs "
            "that are averaged must agree (engine.train --resume on the same run adds it)"
        )
    num_classes = len(found[0].class_names)
    return Calibration(prior=(1 / num_classes,) * num_classes)


def _one_of_each(run: RunDirectory, has: Sequence[bool]) -> tuple[str, str]:
    """The paths of the first member that has something, and of the first one that has not."""
    paths = [str(member.path) for member in run.members]
    return paths[has.index(True)], paths[has.index(False)]


def _mean_threshold(thresholds: Sequence[float]) -> float:
    """The probability whose log-odds are the mean of those of the thresholds."""
    if len(set(thresholds)) == 1:
        return thresholds[0]
    tiny = 1e-12  # a threshold of 0 or 1 has no finite log-odds
    bounded = [min(max(threshold, tiny), 1 - tiny) for threshold in thresholds]
    mean = sum(math.log(value / (1 - value)) for value in bounded) / len(bounded)
    return 1 / (1 + math.exp(-mean))


def _write(run: RunDirectory, contract: InferenceContract) -> None:
    files.write_json(run.inference, contract.to_json())


def _uncompleted(contract: InferenceContract) -> InferenceContract:
    return dataclasses.replace(
        contract, threshold=None, threshold_rule=None, calibration=None, model=None
    )


def _is_threshold(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value <= HIGHEST_THRESHOLD)


_TEXT_OR_NULL = Rule("text or null", lambda value: value is None or schema.is_text(value))
_RULES = {
    "format_version": schema.one_of(FORMAT_VERSION),
    "image_format": schema.OBJECT,
    "class_names": schema.names("a list of at least two different, non-empty names", at_least=2),
    "threshold": Rule("a number from 0 to 1, or null", _is_threshold),
    "threshold_rule": _TEXT_OR_NULL,
    "calibration": Rule(
        "an object or null", lambda value: value is None or isinstance(value, dict)
    ),
    "model": _TEXT_OR_NULL,
}
_ADDED_LATER = {"calibration": None}  # keys that contracts of earlier versions lack

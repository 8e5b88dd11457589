"""The inference contract of a run: all that is needed to use its model, in one file.

`RUN/inference.json` is written when a run starts, and completed when the decision threshold is chosen.
Predicting, evaluating and explaining read it, and nothing else in the run decides how they work:
`environment.json` and `threshold.json` are records of what happened. Needs no TensorFlow.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from engine.base import files, schema
from engine.base.config import UserError
from engine.base.schema import Rule
from engine.images.format import ImageFormat
from engine.runs.run_directory import RunDirectory

FORMAT_VERSION = 1
HIGHEST_THRESHOLD = math.nextafter(1, math.inf)  # calls no image positive, not even at 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferenceContract:
    """How a run's model is used.

    Attributes:
        image_format: how image files become the model's input.
        class_names: by label; 1 is the positive class of two.
        threshold: the least probability of the positive class that is called positive; None with
            more than two classes, and until it is chosen.
        threshold_rule: the rule by which it was chosen on the validation split.
        model: the digest of the model that the threshold belongs to (`RunDirectory.model_digest`).
    """

    image_format: ImageFormat
    class_names: tuple[str, ...]
    threshold: float | None = None
    threshold_rule: str | None = None
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
        }

    @classmethod
    def from_json(cls, values: Any) -> "InferenceContract":
        """The inverse of `to_json`.

        Raises:
            SchemaError: a value is missing, unknown, or out of its range.
        """
        schema.require(values, _RULES)
        fields = {name: value for name, value in values.items() if name != "format_version"}
        return cls(
            **{
                **fields,
                "image_format": ImageFormat.from_json(
                    values["image_format"], where="image_format."
                ),
                "class_names": tuple(values["class_names"]),
            }
        )


def read(run: RunDirectory) -> InferenceContract:
    """The contract of a run; without its threshold where that was chosen for an earlier model.

    Several runs that have no contract for their models as they are now decide by the mean of their
    thresholds.

    Raises:
        UserError: as `stored`.
    """
    found = stored(run)
    if run.members and found.model != run.model_digest():
        return _combined(run, [read(member) for member in run.members])
    if found.threshold is None or found.model == run.model_digest():
        return found
    return _without_threshold(found)


def stored(run: RunDirectory) -> InferenceContract:
    """The contract as the file has it, for its image format and classes.

    Its threshold may be one for an earlier model: whether it is, `read` finds out from all weights
    (0.4 s for those of a ResNet50).

    Raises:
        UserError: the file is missing or damaged, or of another version.
    """
    if run.members and not run.has_contract:
        return _combined(run, [stored(member) for member in run.members])
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
    """Writes the contract of a run that starts, without a threshold; a resumed run keeps its own."""
    try:
        before = stored(run)
    except UserError:
        before = None
    if before is None or _without_threshold(before) != _without_threshold(contract):
        _write(run, _without_threshold(contract))


def complete(
    run: RunDirectory, *, threshold: float | None = None, threshold_rule: str | None = None
) -> InferenceContract:
    """Adds the run's model as it is now, and the threshold that was chosen for it.

    Raises:
        UserError: the contract is missing or damaged.
    """
    contract = dataclasses.replace(
        stored(run), threshold=threshold, threshold_rule=threshold_rule, model=run.model_digest()
    )
    _write(run, contract)
    return contract


def _combined(run: RunDirectory, found: Sequence[InferenceContract]) -> InferenceContract:
    """What holds for the average of several runs: their format and classes, and the mean threshold.

    The mean is taken of log-odds, as that of the outputs is: an image is positive where the members'
    log-odds are, on average, above their own thresholds.

    Raises:
        UserError: the runs take other images, or name other classes.
    """
    first = _without_threshold(found[0])
    for member, other in zip(run.members, found, strict=True):
        for name in ("class_names", "image_format"):
            if getattr(other, name) != getattr(first, name):
                raise UserError(
                    f"{member.path}: its {name.replace('_', ' ')} are {getattr(other, name)}, those of "
                    f"{run.members[0].path} are {getattr(first, name)}; runs that are averaged must agree"
                )
    chosen = [contract.threshold for contract in found if contract.threshold is not None]
    if len(chosen) < len(found):
        return first
    rules = sorted({str(contract.threshold_rule) for contract in found})
    return dataclasses.replace(
        first,
        threshold=_mean_threshold(chosen),
        threshold_rule=f"mean of {len(found)} runs by {', '.join(rules)}",
        model=run.model_digest(),
    )


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


def _without_threshold(contract: InferenceContract) -> InferenceContract:
    return dataclasses.replace(contract, threshold=None, threshold_rule=None, model=None)


def _is_threshold(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value <= HIGHEST_THRESHOLD)


_TEXT_OR_NULL = Rule("text or null", lambda value: value is None or schema.is_text(value))
_RULES = {
    "format_version": schema.one_of(FORMAT_VERSION),
    "image_format": schema.OBJECT,
    "class_names": schema.names("a list of at least two different, non-empty names", at_least=2),
    "threshold": Rule("a number from 0 to 1, or null", _is_threshold),
    "threshold_rule": _TEXT_OR_NULL,
    "model": _TEXT_OR_NULL,
}

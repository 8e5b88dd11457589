"""What finds the evidence of a model, a run or an ensemble, by method.

    auto         exact division of the score, where the classifier takes statistics of maps and no layer is
                 named (`pooled_evidence`); else Grad-CAM
    grad-cam, grad-cam++    gradients into a feature map (`grad_cam`)
    occlusion    what goes away with each part of the image (`occlusion`)

Maps say where the evidence lay, not whether it is right.
"""

from typing import Any

from engine.base import files
from engine.base.config import UserError
from engine.inference import pooled_evidence
from engine.inference.ensemble import EnsemblePredictor
from engine.inference.evidence import Explainer, MeanEvidence
from engine.inference.grad_cam import GradCam, GradCamPlusPlus
from engine.inference.occlusion import MEAN, Occlusion
from engine.inference.pooled_evidence import PooledEvidence
from engine.inference.predictor import Predictor
from engine.networks import registry
from engine.runs.run_directory import RunDirectory

AUTO, OCCLUSION = "auto", "occlusion"
_BY_GRADIENTS = {"grad-cam": GradCam, "grad-cam++": GradCamPlusPlus}
METHODS = (AUTO, *_BY_GRADIENTS, OCCLUSION)


def of_model(
    model: Any, *, method: str = AUTO, layer: str | None = None, default: str | None = None
) -> Explainer:
    """What a model's evidence is found by; occlusion is for predictors.

    Args:
        layer: a feature map; None for all that the classifier takes.
        default: the feature map where that is the mean of one; None for the last one.

    Raises:
        UserError: as `GradCam`.
    """
    if method == AUTO and layer is None and pooled_evidence.applies(model):
        return PooledEvidence(model)
    try:
        return _BY_GRADIENTS.get(method, GradCam)(model, layer=layer or default)
    except UserError as error:
        hint = "; --method occlusion needs none" if "no feature map [" in str(error) else ""
        raise UserError(f"{error}{hint}") from error


def of_predictor(
    predictor: Predictor,
    *,
    method: str = AUTO,
    layer: str | None = None,
    default: str | None = None,
    patch: int | None = None,
    stride: int | None = None,
    baseline: str = MEAN,
) -> Explainer:
    """What a run's evidence is found by, as by `of_model`; of an ensemble, the mean over its members.

    Occlusion covers an ensemble's images for all members at once.

    Args:
        patch, stride, baseline: of occlusion; see `Occlusion`.

    Raises:
        UserError: as `GradCam` and `Occlusion`.
    """
    if method == OCCLUSION:
        return Occlusion(
            lambda images: predictor.outputs(images).log_odds,
            predictor.contract.image_format.image_size,
            patch=patch,
            stride=stride,
            baseline=baseline,
            batch_size=predictor.batch_size,
        )
    models = [one.model for one in members_of(predictor)]
    explainers = [of_model(one, method=method, layer=layer, default=default) for one in models]
    return explainers[0] if len(explainers) == 1 else MeanEvidence(explainers)


def members_of(predictor: Predictor) -> list[Predictor]:
    """The predictors of single models that are averaged; of one run, itself."""
    if not isinstance(predictor, EnsemblePredictor):
        return [predictor]
    return [inner for member in predictor.members for inner in members_of(member)]


def named_layer(run: RunDirectory) -> str | None:
    """The layer that a built-in network names for explanations; None for the last feature map."""
    try:
        name = str(files.read_json(run.config)["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    network = registry.built_in().get(name)
    return None if network is None else network.explained_layer

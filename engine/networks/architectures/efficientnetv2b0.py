"""EfficientNetV2-B0 (Tan and Le, 2021): fused inverted residuals, 5.9 million weights."""

from engine.networks import applications
from engine.networks.pretrained.keras_cache import CachedFile

_FILE = CachedFile("efficientnetv2-b0_notop.h5", 24.3, "893217f2bb855e2983157299931e43ff")
_APPLICATION = applications.Application(
    "EfficientNetV2B0",
    applications.TORCH,
    _FILE,
    blocks=r"_project_bn$",
    options={"include_preprocessing": False},
)

NETWORK = applications.network(
    "efficientnetv2b0", _APPLICATION, summary="EfficientNetV2-B0: 5.9 million weights"
)

"""MobileNetV2 (Sandler et al., 2018): inverted residuals, 2.3 million weights."""

from engine.networks import applications
from engine.networks.pretrained.keras_cache import CachedFile

_FILE = CachedFile("mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5", 9.4)
_APPLICATION = applications.Application(
    "MobileNetV2", applications.TF, _FILE, blocks=r"_project_BN$"
)

NETWORK = applications.network(
    "mobilenetv2", _APPLICATION, summary="MobileNetV2: 2.3 million weights"
)

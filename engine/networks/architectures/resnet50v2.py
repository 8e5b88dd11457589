"""ResNet50V2 (He et al., 2016): pre-activation residual blocks, 24 million weights."""

from engine.networks import applications
from engine.networks.pretrained.keras_cache import CachedFile

_FILE = CachedFile(
    "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    94.7,
    "fac2f116257151a9d068a22e544a4917",
)
_APPLICATION = applications.Application(
    "ResNet50V2", applications.TF, _FILE, blocks=r"^conv\d_block\d_2_bn$"
)

NETWORK = applications.network("resnet50v2", _APPLICATION, summary="ResNet50V2: 24 million weights")

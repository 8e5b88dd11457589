"""DenseNet121 (Huang et al., 2017): densely connected blocks, 7 million weights."""

from engine.networks import applications
from engine.networks.pretrained.keras_cache import CachedFile

_FILE = CachedFile(
    "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
    29.1,
    "30ee3e1110167f948a6b9946edeeb738",
)
_APPLICATION = applications.Application(
    "DenseNet121", applications.TORCH, _FILE, blocks=r"^conv\d_block\d+_2_conv$"
)

NETWORK = applications.network(
    "densenet121", _APPLICATION, summary="DenseNet121: 7 million weights"
)

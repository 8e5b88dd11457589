"""VGG16 (Simonyan and Zisserman, 2015): 13 plain convolutions, 15 million weights."""

from engine.networks import applications
from engine.networks.pretrained.keras_cache import CachedFile

_FILE = CachedFile(
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", 58.9, "6d6bbae143d832006294945121d1f1fc"
)
_APPLICATION = applications.Application(
    "VGG16", applications.CAFFE, _FILE, blocks=r"^block[1-4]_pool$"
)

NETWORK = applications.network(
    "vgg16", _APPLICATION, summary="VGG16: 15 million weights", precision_advice=None
)

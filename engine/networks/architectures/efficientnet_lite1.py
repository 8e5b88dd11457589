"""EfficientNet-Lite1: 4.2 million weights beside the classifier, trained on ImageNet at 240 pixels."""

from engine.networks.pretrained import lite_weights

NETWORK = lite_weights.network(
    "efficientnet_lite1", width=1.0, depth=1.1, summary="EfficientNet-Lite1: 4.2 million weights"
)

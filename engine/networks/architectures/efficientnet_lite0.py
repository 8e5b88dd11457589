"""EfficientNet-Lite0: 3.4 million weights beside the classifier, trained on ImageNet at 224 pixels."""

from engine.networks.pretrained import lite_weights

NETWORK = lite_weights.network(
    "efficientnet_lite0", width=1.0, depth=1.0, summary="EfficientNet-Lite0: 3.4 million weights"
)

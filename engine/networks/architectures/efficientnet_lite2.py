"""EfficientNet-Lite2: 4.9 million weights beside the classifier, trained on ImageNet at 260 pixels."""

from engine.networks.pretrained import lite_weights

NETWORK = lite_weights.network(
    "efficientnet_lite2", width=1.1, depth=1.2, summary="EfficientNet-Lite2: 4.9 million weights"
)

"""The network of the usual tutorials: two convolutions and a large dense layer."""

from typing import Any

from engine.images.format import ImageFormat
from engine.networks import ends
from engine.networks.network import Network


def build(
    image_format: ImageFormat,
    num_classes: int,
    *,
    head: str = "auto",
    image_size: tuple[int, int] | None = None,
) -> Any:
    """Conv32-pool-Conv64-pool-Flatten-Dense128-Dropout0.5 on intensities in [0, 1].

    The ReLUs stand behind the poolings: the larger of two numbers, rectified, is the larger of the
    rectified two, gradients included, and there is a quarter as much to rectify.

    Args:
        head: `sigmoid` (two classes), `softmax`, or `auto`.
        image_size: (height, width) that images are averaged down to inside the network.

    Returns:
        A Keras model, uint8[B, H, W, C] -> float32[B, 1] (sigmoid: probability of class 1) or
        float32[B, K].

    Raises:
        ValueError: the head does not fit the number of classes, or the size the images.
    """
    from keras import layers

    inputs, pixels = ends.image_input(image_format, image_size)
    x = layers.Rescaling(1 / 255, name="rescale")(pixels)
    x = layers.Conv2D(32, 3, name="convolution_1")(x)
    x = layers.MaxPooling2D(name="pool_1")(x)
    x = layers.ReLU(name="relu_1")(x)
    x = layers.Conv2D(64, 3, name="convolution_2")(x)
    x = layers.MaxPooling2D(name="pool_2")(x)
    x = layers.ReLU(name="last_convolution")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(128, activation="relu", name="dense")(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    return ends.classifier(inputs, x, num_classes=num_classes, head=head, name="tutorial")


NETWORK = Network(
    name="tutorial",
    summary="two convolutions and a large dense layer, as in the usual tutorials",
    build=build,
    settings=("head", "image_size"),
    explained_layer="last_convolution",
)

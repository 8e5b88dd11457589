"""The networks. Each takes uint8 images of the manifest's size and gives probabilities.

A model holds its own scaling, so that there is nothing to remember at inference. Three layers are
found by name, in every network here:

    pixels            the images as float32 in [0, 255]; training enters behind it, with augmented pixels
    last_convolution  the last feature map, for explanations
    logits            the classifier before its sigmoid or softmax; losses are computed from it
"""

import contextlib
import contextvars
import zlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from engine.base import counter_random

HEADS = ("sigmoid", "softmax")
_WORKING_SIZE = 112  # pixels; larger images are averaged down to about this before the cnn


def build_model(
    name: str,
    *,
    image_size: tuple[int, int],
    channels: int,
    num_classes: int,
    depth: int = 4,
    width: int = 32,
    blocks: int = 1,
    dropout: float = 0.3,
    normalization: str = "weight",
    synchronized: bool = False,
    head: str = "auto",
    resized_to: tuple[int, int] | None = None,
) -> keras.Model:
    """Builds a network by name under the current dtype policy.

    Args:
        name: `cnn` or `tutorial` (which takes none of depth, width, blocks, dropout, normalization).
        synchronized: batch normalization over all replicas' images rather than each one's own.
        head: `sigmoid` (two classes), `softmax`, or `auto`.
        resized_to: (height, width) that images are averaged down to inside the network; None leaves
            them as they are.

    Returns:
        uint8[B, H, W, C] -> float32[B, 1] (sigmoid: probability of class 1) or float32[B, K].

    Raises:
        ValueError: a sigmoid head for more than two classes, images too small for the depth, or a
            size to average down to that is larger than the images.
    """
    head = choose_head(head, num_classes)
    inputs = keras.Input((*image_size, channels), dtype="uint8", name="image")
    pixels = Pixels(name="pixels")(inputs)
    if resized_to is not None and tuple(resized_to) != tuple(image_size):
        check_resizable(image_size, resized_to)
        pixels = AreaResize(*resized_to, name="resize")(pixels)
    if name == "tutorial":
        features = _tutorial(pixels)
    elif name == "cnn":
        features = _cnn(
            pixels,
            depth=depth,
            width=width,
            blocks=blocks,
            dropout=dropout,
            convolve=_Convolutions(normalization, synchronized=synchronized),
        )
    else:
        raise ValueError(f"no network is called {name!r}; expected cnn or tutorial")
    units = 1 if head == "sigmoid" else num_classes
    logits = layers.Dense(units, dtype="float32", name="logits")(features)
    outputs = layers.Activation(head, dtype="float32", name="probabilities")(logits)
    return keras.Model(inputs, outputs, name=name)


def choose_head(head: str, num_classes: int) -> str:
    """`auto` resolved: sigmoid for two classes, softmax for more.

    Raises:
        ValueError: a sigmoid head for other than two classes.
    """
    if head == "auto":
        return "sigmoid" if num_classes == 2 else "softmax"
    if head == "sigmoid" and num_classes != 2:
        raise ValueError(f"--head sigmoid tells two classes apart, got {num_classes}; use softmax")
    return head


def training_model(model: keras.Model) -> keras.Model:
    """The part that is trained: float32[B, H, W, C] pixels in [0, 255] -> logits float32[B, units].

    Shares every weight with `model`.
    """
    return keras.Model(model.get_layer("pixels").output, model.get_layer("logits").output)


def check_resizable(image_size: tuple[int, int], resized_to: tuple[int, int]) -> None:
    """Raises `ValueError` unless images of `image_size` can be averaged down to `resized_to`."""
    if resized_to[0] > image_size[0] or resized_to[1] > image_size[1]:
        raise ValueError(
            f"--image-size {resized_to[0]}x{resized_to[1]} is larger than the images, "
            f"{image_size[0]}x{image_size[1]}; the network averages them down, never up"
        )


def largest_depth(image_size: tuple[int, int]) -> int:
    """The most stages of the cnn that images of this size, in pixels, can be halved by."""
    return (min(image_size) // _averaging_factor(image_size)).bit_length() - 1


def _averaging_factor(image_size: tuple[int, int]) -> int:
    return max(1, round(min(image_size) / _WORKING_SIZE))


def _tutorial(pixels: Any) -> Any:
    """Conv32-pool-Conv64-pool-Flatten-Dense128-Dropout0.5 on intensities in [0, 1].

    The ReLUs stand behind the poolings: the larger of two numbers, rectified, is the larger of the
    rectified two, gradients included, and there is a quarter as much to rectify.
    """
    x = layers.Rescaling(1 / 255, name="rescale")(pixels)
    x = layers.Conv2D(32, 3, name="convolution_1")(x)
    x = layers.MaxPooling2D(name="pool_1")(x)
    x = layers.ReLU(name="relu_1")(x)
    x = layers.Conv2D(64, 3, name="convolution_2")(x)
    x = layers.MaxPooling2D(name="pool_2")(x)
    x = layers.ReLU(name="last_convolution")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(128, activation="relu", name="dense")(x)
    return KeyedDropout(0.5, name="dropout")(x)


def _cnn(
    pixels: Any,
    *,
    depth: int,
    width: int,
    blocks: int,
    dropout: float,
    convolve: "_Convolutions",
) -> Any:
    """A residual network with a strided 5x5 stem; stage i has width * 2**i channels.

    Every stage after the stem is a pooling, a convolution, and `blocks` residual blocks of two
    convolutions.
    """
    size = pixels.shape[1:3]
    if depth > largest_depth(size):
        raise ValueError(
            f"--depth {depth} halves images {depth} times, too often for {min(size)} pixels; "
            f"give a smaller depth or build larger images"
        )
    x = Standardize(_averaging_factor(size), name="standardize")(pixels)
    x = convolve(x, width, 5, strides=2, name="stem")
    x = layers.ReLU(name="stem_relu")(x)
    for stage in range(1, depth):
        channels, name = width * 2**stage, f"stage{stage}"
        # Pooling before the convolution, not behind it, makes a step 1.5 times as fast.
        x = layers.MaxPooling2D(name=f"{name}_pool")(x)
        x = convolve(x, channels, 3, name=f"{name}_in")
        x = layers.ReLU(name=f"{name}_in_relu")(x)
        for block in range(1, blocks + 1):
            x = _residual(x, channels, convolve, name=f"{name}_block{block}")
    x = layers.Activation("linear", name="last_convolution")(x)
    x = layers.GlobalAveragePooling2D(name="average")(x)
    return KeyedDropout(dropout, name="dropout")(x)


def _residual(x: Any, channels: int, convolve: "_Convolutions", *, name: str) -> Any:
    y = convolve(x, channels, 3, name=f"{name}_a")
    y = layers.ReLU(name=f"{name}_a_relu")(y)
    y = convolve(y, channels, 3, name=f"{name}_b")
    x = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_relu")(x)


class _Convolutions:
    """Convolution and normalization in one call."""

    def __init__(self, normalization: str, *, synchronized: bool) -> None:
        self._normalization, self._synchronized = normalization, synchronized

    def __call__(self, x: Any, channels: int, size: int, *, name: str, strides: int = 1) -> Any:
        if self._normalization == "weight":
            return StandardizedConv2D(channels, size, strides=strides, name=f"{name}_convolution")(
                x
            )
        x = layers.Conv2D(
            channels,
            size,
            strides=strides,
            padding="same",
            use_bias=self._normalization != "batch",
            kernel_initializer="he_normal",
            name=f"{name}_convolution",
        )(x)
        if self._normalization == "batch":
            x = layers.BatchNormalization(
                momentum=0.9, synchronized=self._synchronized, name=f"{name}_normalization"
            )(x)
        if self._normalization == "group":
            groups = next(g for g in (8, 4, 2, 1) if channels % g == 0)
            x = layers.GroupNormalization(groups, name=f"{name}_normalization")(x)
        return x


@keras.saving.register_keras_serializable(package="engine")
class Pixels(layers.Layer):
    """uint8[B, H, W, C] to the same values in float32, whatever the dtype policy."""

    def __init__(self, **options: Any) -> None:
        options.pop("dtype", None)
        super().__init__(dtype="float32", autocast=False, **options)

    def call(self, images: Any) -> Any:
        return ops.cast(images, "float32")

    def compute_output_spec(self, images: Any) -> Any:
        return keras.KerasTensor(images.shape, "float32")


@keras.saving.register_keras_serializable(package="engine")
class AreaResize(layers.Layer):
    """Averages float32[B, H, W, C] down to float32[B, height, width, C], whatever the dtype policy.

    Each new pixel is the mean of the area it covers, pixels cut by its border weighed by their part
    inside (OpenCV's INTER_AREA): antialiased by construction, and two small matrix products, which
    XLA compiles too.

    Args:
        height, width: the new size, at most the old one.
    """

    def __init__(self, height: int, width: int, **options: Any) -> None:
        options.pop("dtype", None)
        super().__init__(dtype="float32", autocast=False, **options)
        self.height, self.width = height, width

    def call(self, pixels: Any) -> Any:
        rows = _area_weights(pixels.shape[1], self.height)
        columns = _area_weights(pixels.shape[2], self.width)
        return ops.einsum("hH,wW,bHWc->bhwc", rows, columns, pixels)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (input_shape[0], self.height, self.width, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height": self.height, "width": self.width}


def _area_weights(old: int, new: int) -> np.ndarray:
    """float32[new, old]: which part of each old pixel goes into each new one; rows sum to 1."""
    scale = old / new
    first = np.arange(new)[:, None] * scale
    pixel = np.arange(old)[None, :]
    overlap = np.minimum(pixel + 1, first + scale) - np.maximum(pixel, first)
    return (np.clip(overlap, 0, None) / scale).astype(np.float32)


_keys: contextvars.ContextVar[tf.Tensor | None] = contextvars.ContextVar("keys", default=None)


@contextlib.contextmanager
def keyed(keys: tf.Tensor | None) -> Iterator[None]:
    """Within the block `KeyedDropout` draws by these keys, uint64[B], a key for each example.

    None leaves it to draw as Keras does.
    """
    token = _keys.set(keys)
    try:
        yield
    finally:
        _keys.reset(token)


@keras.saving.register_keras_serializable(package="engine")
class KeyedDropout(layers.Layer):
    """Dropout that is a function of each example's key, within `keyed`; elsewhere Keras' own.

    Keras draws one mask per replica, the same on every one, from a state that has to be saved. These
    masks stay with their examples however a batch is divided, and after any resume.

    Args:
        rate: the share of features [B, F] that is set to zero; the others are scaled up.
    """

    def __init__(self, rate: float, **options: Any) -> None:
        super().__init__(**options)
        self.rate = rate
        self._unkeyed = keras.random.SeedGenerator()

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or not self.rate:
            return inputs
        keys = _keys.get()
        if keys is None:
            return keras.random.dropout(inputs, self.rate, seed=self._unkeyed)
        drawn = counter_random.uniform(keys, inputs.shape[-1], salt=zlib.crc32(self.name.encode()))
        kept = tf.cast(drawn >= self.rate, inputs.dtype)
        return inputs * kept / (1 - self.rate)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


@keras.saving.register_keras_serializable(package="engine")
class Standardize(layers.Layer):
    """Averages pixels down by a whole factor, then gives each image mean 0 and deviation 1.

    Averaging takes away the sharpness by which scanners differ; standardizing takes away exposure and
    contrast. Computed in float32.

    Args:
        factor: how many pixels per side go into one.
    """

    _FLOOR = 5.0  # grey levels added to the deviation, so that flat images stay flat

    def __init__(self, factor: int = 1, **options: Any) -> None:
        options.pop("dtype", None)
        super().__init__(dtype="float32", autocast=False, **options)
        self.factor = factor

    def call(self, pixels: Any) -> Any:
        if self.factor > 1:
            pixels = ops.average_pool(pixels, self.factor, self.factor, padding="valid")
        mean = ops.mean(pixels, axis=(1, 2, 3), keepdims=True)
        deviation = ops.std(pixels, axis=(1, 2, 3), keepdims=True)
        return (pixels - mean) / (deviation + self._FLOOR)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable(package="engine")
class StandardizedConv2D(layers.Layer):
    """A convolution whose kernel has zero mean and unit variance per output channel, with a gain.

    Weight standardization (Qiao et al., 2019) as scaled for ReLU networks without activation
    normalization (Brock et al., 2021, https://arxiv.org/abs/2101.08692). It steadies training as
    batch normalization does, but costs a few operations on the kernel and none on the activations,
    and an image's result never depends on its batch. Padding is `same`.

    Args:
        filters: channels of the output.
        kernel_size: pixels per side.
        strides: pixels between outputs.
    """

    _RELU_GAIN = 1.7

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides

    def build(self, input_shape: Any) -> None:
        shape = (self.kernel_size, self.kernel_size, input_shape[-1], self.filters)
        self.kernel = self.add_weight(shape=shape, initializer="he_normal", name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")
        self.gain = self.add_weight(shape=(self.filters,), initializer="ones", name="gain")

    def call(self, inputs: Any) -> Any:
        kernel = ops.cast(self.standardized_kernel(), inputs.dtype)
        outputs = ops.conv(inputs, kernel, strides=self.strides, padding="same")
        return outputs + ops.cast(self.bias, outputs.dtype)

    def standardized_kernel(self) -> Any:
        """What the inputs are convolved with, float32[h, w, in, out]."""
        kernel = ops.cast(self.kernel, "float32")
        mean = ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
        variance = ops.var(kernel, axis=(0, 1, 2), keepdims=True)
        fan_in = kernel.shape[0] * kernel.shape[1] * kernel.shape[2]
        scale = ops.cast(self.gain, "float32") * self._RELU_GAIN
        return (kernel - mean) * ops.rsqrt(variance * fan_in + 1e-4) * scale

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, height, width, _ = input_shape
        return (batch, -(-height // self.strides), -(-width // self.strides), self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
        }

"""Augmentation: the host draws a few floats per image, the device moves the pixels once.

What happens to an image is a pure function of (seed, epoch, position): `draw` turns those into a
`warp` (one projective transform that composes rotation, shear, zoom, shift and flip), a `tone`
(brightness, contrast), a `gamma`, a `blur` and a `spectrum`. Those that are in use travel in the batch. `apply`
resamples each image once and adjusts its tone, on the device that runs the training step. The same
run therefore sees the same images on any number of replicas, after a resume, and in any thread
order.

Draws are per position, not per batch, so they do not change with the batch size either.
"""

import dataclasses
import math
from typing import Any

import keras
import tensorflow as tf

from engine.base import counter_random
from engine.base.settings import AugmentationSettings
from engine.pipeline import spectrum

WARP_SIZE = 9  # eight floats of a projective transform, and whether what lies outside is black
TONE_SIZE = 2  # brightness, contrast
_NUM_DRAWS = 13
_UPSIDE_DOWN = 13  # the column that is drawn in addition where images may stand on their heads
# A network that is trained on altered images alone does worse on unaltered ones. With black borders
# on all images, accuracy on held-out chest X-rays was 0.88 at a threshold of 0.5; with mirrored
# borders, 0.94. The effect of leaving some images unaltered was not measured separately.
INTACT_SHARE = 0.125
BLACK_SHARE = 0.25
_BLUR_STRIDE = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strengths:
    """The largest change of each kind; zero turns it off.

    Attributes:
        rotation: degrees either way.
        shear: radians either way.
        zoom: each axis is scaled by a factor in [1 - zoom, 1 + zoom], drawn independently.
        width_shift, height_shift: share of the width and the height, either way.
        horizontal_flip: mirror half of the images.
        vertical_flip: turn half of the images upside down, mirrored or not.
        brightness: added to intensities in [0, 1], either way.
        contrast: the distance of intensities to the image mean is scaled by a factor in
            [1 - contrast, 1 + contrast].
        gamma: the exponent is drawn from [exp(-gamma), exp(gamma)], uniformly in its logarithm.
        blur: the largest share of a copy four times coarser that is mixed in; half of the images
            get none.
        spectrum: low spatial frequencies are multiplied by factors about 1, whose logarithms have this
            deviation; each image takes a share of them (see the module `spectrum`).
    """

    rotation: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    width_shift: float = 0.0
    height_shift: float = 0.0
    horizontal_flip: bool = False
    vertical_flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    blur: float = 0.0
    spectrum: float = 0.0

    @property
    def warps(self) -> bool:
        """Whether any pixel moves."""
        geometric = self.rotation, self.shear, self.zoom, self.width_shift, self.height_shift
        return any(geometric) or self.horizontal_flip or self.vertical_flip

    @property
    def tones(self) -> bool:
        """Whether brightness or contrast change."""
        return bool(self.brightness or self.contrast)

    def __bool__(self) -> bool:
        return self.warps or self.tones or bool(self.gamma or self.blur or self.spectrum)


PRESETS = {
    "none": Strengths(),
    "light": Strengths(
        rotation=5, shear=0.05, zoom=0.05, width_shift=0.05, height_shift=0.05,
        brightness=0.05, contrast=0.1, gamma=0.1, spectrum=0.4,
    ),
    "standard": Strengths(
        rotation=10, shear=0.1, zoom=0.1, width_shift=0.08, height_shift=0.08,
        horizontal_flip=True, brightness=0.1, contrast=0.2, gamma=0.2, spectrum=0.8,
    ),
    "strong": Strengths(
        rotation=15, shear=0.15, zoom=0.25, width_shift=0.1, height_shift=0.1,
        horizontal_flip=True, brightness=0.2, contrast=0.4, gamma=0.5, blur=0.8,
        spectrum=0.8,
    ),
    # The arguments of ImageDataGenerator in most X-ray tutorials. (It takes shear in degrees; 0.2
    # was meant in radians, as in every later API.)
    "tutorial": Strengths(
        rotation=20, shear=0.2, zoom=0.2, width_shift=0.1, height_shift=0.1, horizontal_flip=True
    ),
}  # fmt: skip


def strengths_from(settings: AugmentationSettings) -> Strengths:
    """The preset, overridden by the strengths that were set explicitly."""
    names = [field.name for field in dataclasses.fields(Strengths)]
    given = {name: getattr(settings, name) for name in names}
    overrides = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(PRESETS[settings.augment], **overrides)


def draw(
    positions: tf.Tensor,
    *,
    seed: int,
    epoch: tf.Tensor | int,
    image_size: tuple[int, int],
    strengths: Strengths,
) -> dict[str, tf.Tensor]:
    """Draws what happens to the images at `positions` of an epoch.

    Args:
        positions: int64[B], places in the epoch's order.
        seed: the run's seed.
        epoch: scalar int.
        image_size: (height, width) in pixels.

    Returns:
        `warp` float32[B, 9] (output to input pixel coordinates, in the row-major order of
        `ImageProjectiveTransformV3`; then 1 where what lies outside the image is black, 0 where it
        is mirrored), `tone` float32[B, 2] (brightness, contrast factor), `gamma` float32[B, 1] (an
        exponent), `blur` float32[B, 1] (share of a coarser copy), `spectrum` float32[B, 1] (its
        strength) and `spectrum_key` uint64[B], each only if its strength is not zero. One image in eight is at most flipped.
    """
    columns = _NUM_DRAWS + strengths.vertical_flip
    uniform = uniform_draws(positions, seed=seed, epoch=epoch, columns=columns)
    upside_down = uniform[:, _UPSIDE_DOWN] if strengths.vertical_flip else None
    altered = tf.cast(uniform[:, 12:13] >= 2 * INTACT_SHARE - 1, tf.float32)
    uniform = tf.concat(
        [uniform[:, :6] * altered, uniform[:, 6:8], uniform[:, 8:] * altered], axis=1
    )
    drawn = {}
    if strengths.warps:
        drawn["warp"] = _warps(uniform[:, :8], upside_down, image_size, strengths)
    if strengths.tones:
        drawn["tone"] = _tones(uniform[:, 8:10], strengths)
    if strengths.gamma:
        drawn["gamma"] = tf.exp(uniform[:, 10:11] * strengths.gamma)
    if strengths.blur:
        drawn["blur"] = tf.nn.relu(uniform[:, 11:12]) * strengths.blur
    if strengths.spectrum:
        drawn["spectrum"] = altered * strengths.spectrum
        drawn["spectrum_key"] = spectrum.draw(positions, seed=seed, epoch=epoch)
    return drawn


def uniform_draws(
    positions: tf.Tensor, *, seed: int, epoch: tf.Tensor | int, columns: int
) -> tf.Tensor:
    """Uniform draws in [-1, 1), float32[B, columns]; see `counter_random`."""
    keys = counter_random.row_keys(positions, seed=seed, epoch=epoch)
    return counter_random.uniform(keys, columns) * 2 - 1


def _warps(
    uniform: tf.Tensor,
    upside_down: tf.Tensor | None,
    image_size: tuple[int, int],
    strengths: Strengths,
) -> tf.Tensor:
    """float32[B, 8] and [B] in [-1, 1) to transforms about the image's centre, float32[B, 9]."""
    height, width = image_size
    angle = uniform[:, 0] * (strengths.rotation * math.pi / 180)
    shear = tf.tan(uniform[:, 1] * strengths.shear)
    zoom_x = 1 + uniform[:, 2] * strengths.zoom
    zoom_y = 1 + uniform[:, 3] * strengths.zoom
    shift_x = uniform[:, 4] * (strengths.width_shift * width)
    shift_y = uniform[:, 5] * (strengths.height_shift * height)
    mirror = tf.where(uniform[:, 6] < 0, -1.0, 1.0) if strengths.horizontal_flip else 1.0
    if upside_down is not None:
        zoom_y *= tf.where(upside_down < 0, -1.0, 1.0)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    # rotation @ shear @ diag(zoom): the output pixel (x, y), seen from the centre, shows the input
    # pixel that this matrix sends it to.
    xx, xy = cosine * zoom_x * mirror, (cosine * shear - sine) * zoom_y
    yx, yy = sine * zoom_x * mirror, (sine * shear + cosine) * zoom_y
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    to_x = centre_x + shift_x - xx * centre_x - xy * centre_y
    to_y = centre_y + shift_y - yx * centre_x - yy * centre_y
    zero = tf.zeros_like(xx)
    black = tf.cast(uniform[:, 7] < 2 * BLACK_SHARE - 1, tf.float32)
    return tf.stack([xx, xy, to_x, yx, yy, to_y, zero, zero, black], axis=1)


def _tones(uniform: tf.Tensor, strengths: Strengths) -> tf.Tensor:
    """float32[B, 2] in [-1, 1) to (brightness, contrast factor)."""
    return tf.stack(
        [uniform[:, 0] * strengths.brightness, 1 + uniform[:, 1] * strengths.contrast], axis=1
    )


def apply(batch: dict[str, Any]) -> tf.Tensor:
    """Moves the pixels of a batch and adjusts their tone, by its draws.

    Args:
        batch: `image` uint8[B, H, W, C] and what `draw` returned. Without draws, pixels are
            unchanged.

    Returns:
        float32[B, H, W, C] in [0, 255].
    """
    images = batch["image"]
    images = warp(images, batch["warp"]) if "warp" in batch else tf.cast(images, tf.float32)
    if "tone" in batch:
        images = tone(images, batch["tone"])
    if "gamma" in batch:
        images = gamma(images, batch["gamma"])
    if "blur" in batch:
        images = blur(images, batch["blur"])
    if "spectrum" in batch:
        images = spectrum.vary(images, batch["spectrum_key"], batch["spectrum"])
    return images


@tf.function(jit_compile=True, autograph=False)
def warp(images: tf.Tensor, warps: tf.Tensor) -> tf.Tensor:
    """One bilinear resampling; outside of the image, it is mirrored or black.

    Written as arithmetic and gathers, and always compiled by XLA into one loop: 5 times as fast on
    a CPU as `ImageProjectiveTransformV3` (5,900 against 1,030 images/s per core at 224 x 224),
    which has no XLA kernel. Mirroring by `floormod` or `floor` would lose that gain.

    Args:
        images: uint8 or float32 [B, H, W, C], at least 2 pixels per side.
        warps: float32[B, 9], as `draw` returns them.

    Returns:
        float32[B, H, W, C].
    """
    height, width, channels = images.shape[1:]
    xx, xy, to_x, yx, yy, to_y, _, _, black = (
        tf.reshape(column, [-1, 1, 1]) for column in tf.unstack(warps, WARP_SIZE, axis=1)
    )
    x = tf.range(width, dtype=tf.float32)[None, None, :]
    y = tf.range(height, dtype=tf.float32)[None, :, None]
    from_x, from_y = xx * x + xy * y + to_x, yx * x + yy * y + to_y
    # Distance outside on either axis, in pixels; half a pixel still shows the image's edge.
    outside = tf.maximum(
        tf.abs(from_x - (width - 1) / 2) - width / 2, tf.abs(from_y - (height - 1) / 2) - height / 2
    )
    kept = 1 - black * tf.cast(outside > 0, tf.float32)
    from_x, from_y = _mirrored(from_x, width), _mirrored(from_y, height)
    left = tf.minimum(tf.cast(from_x, tf.int32), width - 2)
    top = tf.minimum(tf.cast(from_y, tf.int32), height - 2)
    right_share, low_share = from_x - tf.cast(left, tf.float32), from_y - tf.cast(top, tf.float32)
    pixels = tf.reshape(images, [-1, channels])
    first = (tf.range(tf.shape(images)[0]) * (height * width))[:, None, None]
    corner = first + top * width + left

    def share(offset: int, weight: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.gather(pixels, corner + offset), tf.float32) * weight[..., None]

    return (
        share(0, (1 - right_share) * (1 - low_share) * kept)
        + share(1, right_share * (1 - low_share) * kept)
        + share(width, (1 - right_share) * low_share * kept)
        + share(width + 1, right_share * low_share * kept)
    )


def _mirrored(coordinates: tf.Tensor, size: int) -> tf.Tensor:
    """Folds coordinates back into an image at its edges, those up to three sizes away."""
    folded = tf.abs(size - tf.abs(size - tf.abs(coordinates + 0.5))) - 0.5
    return tf.clip_by_value(folded, 0.0, size - 1.0)


def tone(images: tf.Tensor, tones: tf.Tensor) -> tf.Tensor:
    """Contrast about the image mean, then brightness; values are clipped to [0, 255].

    Args:
        images: float32[B, H, W, C] in [0, 255].
        tones: float32[B, 2]: brightness (of a range of 1), contrast factor.
    """
    # Not `tones[:, i, None, None, None]`: with `draw` in the same graph, TensorFlow 2.21 simplifies
    # such a slice of a stack wrongly and drops the new axes.
    brightness, contrast = (
        tf.reshape(column, [-1, 1, 1, 1]) for column in tf.unstack(tones, TONE_SIZE, axis=1)
    )
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    return tf.clip_by_value(images * contrast + (mean * (1 - contrast) + 255 * brightness), 0, 255)


def gamma(images: tf.Tensor, exponents: tf.Tensor) -> tf.Tensor:
    """Raises intensities, as shares of the full range, to a power.

    Args:
        images: float32[B, H, W, C] in [0, 255].
        exponents: float32[B, 1], above 0.
    """
    power = tf.reshape(exponents, [-1, 1, 1, 1])
    # exp(p log x) is vectorized on the CPU and five times faster there than tf.pow. Scaling to
    # [0, 1] and back is done on the exponents and the logarithms' floor, not on the pixels.
    floor = 1e-4 * 255
    logarithms = tf.math.log(tf.maximum(images, floor))
    return tf.exp(power * logarithms + (1 - power) * math.log(255))


def blur(images: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Mixes images with copies of a quarter of their resolution.

    Args:
        images: float32[B, H, W, C].
        shares: float32[B, 1] in [0, 1], of the coarse copy.
    """
    small = tf.nn.avg_pool2d(images, _BLUR_STRIDE, _BLUR_STRIDE, "SAME")
    coarse = tf.image.resize(small, images.shape[1:3])
    return images + tf.reshape(shares, [-1, 1, 1, 1]) * (coarse - images)


@keras.saving.register_keras_serializable(package="engine")
class Augment(keras.layers.Layer):
    """`apply` as a layer, for models that take whole batches (see also `datasets.augmented`)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(dtype="float32", autocast=False, **options)

    def call(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """See `apply`."""
        return apply(batch)

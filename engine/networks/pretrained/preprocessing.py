"""What pretrained networks do with grey levels before their first kernel, in colour and in grey.

A pixel p of channel c becomes (p - centre[c]) / spread[c], in the order of channels that the network was
trained in. A grey image g has g in all three, and the first convolution is linear, so fewer channels do:

    one scale for all channels     one channel; the kernel is the sum over the three
    a scale for each channel       two channels, the grey level n in one common scale and ones; with
                                   x_c = n * a_c + b_c, their kernels are sum(a_c * K_c) and sum(b_c * K_c)

Both are exact to float32's rounding, borders included: networks pad with zeros behind the scaling, and
where they do, the channel of ones is padded with zeros too.
"""

import dataclasses
from typing import Any

import numpy as np

Array = np.ndarray
_GREY, _COLOUR = 1, 3


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How a network scales its images.

    Attributes:
        centre, spread: in grey levels, per channel, as the network orders them.
        is_reversed: whether that order is blue, green, red.
    """

    centre: tuple[float, float, float]
    spread: tuple[float, float, float]
    is_reversed: bool = False

    @classmethod
    def uniform(cls, centre: float, spread: float) -> "Preprocessing":
        """The same for all channels."""
        return cls((centre,) * 3, (spread,) * 3)

    @property
    def is_uniform(self) -> bool:
        """Whether all channels are scaled alike."""
        return len(set(self.centre)) == len(set(self.spread)) == 1

    def apply(self, pixels: Any) -> Any:
        """float32[B, H, W, C], C being 1 or 3 -> float32[B, H, W, channels of the first kernel].

        Raises:
            ValueError: the images have other than one or three channels.
        """
        from keras import ops

        channels = pixels.shape[-1]
        if channels == _COLOUR:
            ordered = pixels[..., ::-1] if self.is_reversed else pixels
            return (ordered - np.float32(self.centre)) / np.float32(self.spread)
        if channels != _GREY:
            raise ValueError(
                f"the network takes grey or colour images, 1 or 3 channels; got {channels}"
            )
        centre, spread = self._common
        grey = (pixels - centre) / spread
        return grey if self.is_uniform else ops.concatenate([grey, ops.ones_like(grey)], axis=-1)

    def for_grey(self, kernel: Array) -> Array:
        """The kernel of grey images, float32[h, w, 1 or 2, out], from that of colour ones."""
        centre, spread = self._common
        scale = spread / np.asarray(self.spread)
        shift = (centre - np.asarray(self.centre)) / np.asarray(self.spread)
        factors = scale[None] if self.is_uniform else np.stack([scale, shift])
        folded: Array = np.einsum("gc,hwco->hwgo", factors, kernel.astype(np.float64))
        return folded.astype(np.float32)

    @property
    def _common(self) -> tuple[float, float]:
        """Centre and spread of a grey level."""
        return float(np.mean(self.centre)), float(np.mean(self.spread))

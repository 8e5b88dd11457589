"""Networks of keras.applications, with their preprocessing inside and a classifier of one's own.

All layers lie in one flat graph, by the names that Keras gives them: `--weights FILE`, `--init-from` and
explanations find them, and first kernels fit grey images (see `pretrained.preprocessing`).
"""

import contextlib
import dataclasses
import functools
import re
import sys
from collections.abc import Mapping
from typing import Any

from engine.base.config import UserError
from engine.images.format import ImageFormat
from engine.networks import ends
from engine.networks import pooling as feature_pooling
from engine.networks.network import Network
from engine.networks.pretrained import fine_tuning, keras_cache
from engine.networks.pretrained.keras_cache import CachedFile
from engine.networks.pretrained.layer_arrays import Arrays
from engine.networks.pretrained.preprocessing import Preprocessing
from engine.networks.pretrained.weights import Pretraining

_SMALLEST = 32  # pixels; every network here halves images five times

# The three ways of keras.applications.imagenet_utils.preprocess_input, and their names there.
TF = Preprocessing.uniform(127.5, 127.5)
TORCH = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CAFFE = Preprocessing((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), is_reversed=True)


@dataclasses.dataclass(frozen=True)
class Application:
    """A network of keras.applications.

    Attributes:
        function: its name there.
        file: its ImageNet weights without the classifier.
        blocks: what the names of the layers match that give the map behind each block.
        options: further arguments of the function.
    """

    function: str
    preprocessing: Preprocessing
    file: CachedFile
    blocks: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def pretraining(self) -> Pretraining:
        """Where its weights come from."""
        return Pretraining(
            preprocessing=self.preprocessing,
            check_imagenet=functools.partial(keras_cache.check, self.file),
            read_imagenet=self._read_imagenet,
        )

    def body(self, **options: Any) -> Any:
        """The network up to its last feature map."""
        import keras

        function = getattr(keras.applications, self.function)
        return function(include_top=False, **self.options, **options)

    def _read_imagenet(self) -> Arrays:
        """What Keras loads into its own network; downloads the file where it is not in the cache."""
        try:
            with contextlib.redirect_stdout(sys.stderr):  # the progress of a download
                body = self.body(weights="imagenet", input_shape=(224, 224, 3))
        except Exception as error:  # what a download raises, or a damaged file
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise UserError(
                f"--weights imagenet: Keras cannot load {self.file.name} ({self.file.size_mb} MB) from "
                f"{keras_cache.folder_of_weights()}: {reason}"
            ) from error
        return {layer.name: layer.get_weights() for layer in body.layers if layer.weights}


def network(
    name: str,
    application: Application,
    *,
    summary: str,
    precision_advice: str | None = "batch normalization is slower in bfloat16 without AMX",
) -> Network:
    """The entry of the registry for an application."""
    return Network(
        name=name,
        summary=f"{summary}, pretrained on ImageNet (keras.applications)",
        build=functools.partial(build, name=name, application=application),
        settings=("weights", "pooling", "dropout", "head", "image_size"),
        precision_advice=lambda settings: precision_advice,
        defaults=fine_tuning.DEFAULTS,
        check_weights=application.pretraining.check,
        explained_layer="last_convolution",
    )


def build(
    image_format: ImageFormat,
    num_classes: int,
    *,
    name: str,
    application: Application,
    weights: str = "none",
    pooling: str = feature_pooling.AVERAGE,
    dropout: float = 0.2,
    head: str = "auto",
    image_size: tuple[int, int] | None = None,
) -> Any:
    """The network with pooling, dropout and a classifier of its own behind the last feature map.

    Args:
        weights: what `--weights` says.
        pooling: `average` or `statistics` (see `pooling`).
        head: `sigmoid` (two classes), `softmax`, or `auto`.
        image_size: (height, width) that images are averaged down to inside the network.

    Returns:
        A Keras model, uint8[B, H, W, C] -> float32[B, 1] (sigmoid: probability of class 1) or
        float32[B, K].

    Raises:
        ValueError: the head does not fit the number of classes, or the images are too small or have
            other than one or three channels.
        UserError: the weights are not there, damaged, or of another network.
    """
    from keras import layers

    inputs, pixels = ends.image_input(image_format, image_size)
    size = pixels.shape[1:3]
    if min(size) < _SMALLEST:
        raise ValueError(
            f"--model {name} takes images of at least {_SMALLEST}x{_SMALLEST} pixels, got "
            f"{size[0]}x{size[1]}; build larger images"
        )
    images = application.preprocessing.apply(pixels)
    body = application.body(weights=None, input_tensor=images)
    x = layers.Activation("linear", name="last_convolution")(body.output)
    blocks = [layer.output for layer in body.layers if re.search(application.blocks, layer.name)]
    x = feature_pooling.features(x, blocks, pooling=pooling, dropout=dropout)
    model = ends.classifier(inputs, x, num_classes=num_classes, head=head, name=name)
    application.pretraining.load(model, weights)
    return model

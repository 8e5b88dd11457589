"""A plain Keras model, trained on images that are augmented on the device within its own step."""

from typing import Any

import keras
import tensorflow as tf

from engine.base.config import UserError
from engine.pipeline import augmentation, mixing


class AugmentedModel(keras.Model):
    """A model around another that moves the pixels of training batches first.

    It shares every variable with `model`, which is unchanged: train this model, then use and keep
    `model`. Only training is augmented: `evaluate` and `predict` take images, or batches with
    draws, and leave the pixels as they are. `save`, `export`, `save_weights` and `load_weights` are
    those of `model`, so that callbacks such as `ModelCheckpoint` write files that plain Keras
    loads.

    Args:
        model: takes images [B, H, W, C] with values from 0 to 255, preferably float32: with integer
            inputs, augmented pixels are rounded.

    Raises:
        UserError: `model` is no Keras model.
    """

    def __init__(self, model: keras.Model) -> None:
        if not isinstance(model, keras.Model):
            raise UserError(f"augmented takes a Keras model, got {type(model).__name__}")
        # Without autocast: mixed precision would round the coordinates that pixels are taken from.
        super().__init__(name=f"augmented_{model.name}", dtype=model.dtype_policy, autocast=False)
        self.model = model
        self.built = model.built

    def call(self, inputs: Any, training: bool = False) -> Any:
        """The output of `model`.

        Args:
            inputs: images, or a dictionary of `image` and what `augmentation.draw` and `mixing.draw`
                give.
        """
        images = inputs["image"] if isinstance(inputs, dict) else inputs
        if training and isinstance(inputs, dict):
            images = _augmented(inputs)
        return self.model(self._as_input(images), training=training)

    def _as_input(self, images: Any) -> tf.Tensor:
        wanted = _input_dtype(self.model)
        if tf.as_dtype(wanted).is_integer and images.dtype.is_floating:
            images = tf.clip_by_value(tf.round(images), 0, 255)
        return tf.cast(images, wanted)

    def save(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """Saves the model within, without augmentation, optimizer and losses."""
        self.model.save(filepath, *arguments, **options)

    def export(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """Exports the model within."""
        self.model.export(filepath, *arguments, **options)

    def save_weights(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """Saves the weights of the model within."""
        self.model.save_weights(filepath, *arguments, **options)

    def load_weights(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """Loads weights of the model within."""
        self.model.load_weights(filepath, *arguments, **options)


def _augmented(batch: dict[str, tf.Tensor]) -> tf.Tensor:
    images = augmentation.apply(batch)
    if "mix" not in batch:
        return images
    if images.shape[0] is not None and images.shape[0] % 2:
        raise UserError(
            f"images are mixed in pairs, but a device gets {images.shape[0]} of each batch; choose a "
            "global_batch_size that gives each an even number"
        )
    return mixing.apply(images, batch["mix"])


def _input_dtype(model: keras.Model) -> str:
    """The dtype of images that a model declares; float32 where it declares none."""
    inputs = getattr(model, "inputs", None)
    return inputs[0].dtype if inputs else "float32"

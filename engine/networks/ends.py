"""How the built-in networks begin and end: uint8 images in, one probability per class out."""

from typing import Any

from engine.images.format import ImageFormat

LOGITS, PROBABILITIES = "logits", "probabilities"  # the last two layers, as `stock` names them too
STANDARDIZE = (
    "standardize"  # the layer before the classifier that standardizes what it takes, if any
)


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


def working_size(images: tuple[int, int], averaged_to: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) in pixels that a network works on.

    Args:
        images: their size.
        averaged_to: the size that they are averaged down to; None leaves them.

    Raises:
        ValueError: it is larger than the images.
    """
    if averaged_to is None:
        return images
    if averaged_to[0] > images[0] or averaged_to[1] > images[1]:
        raise ValueError(
            f"--image-size {averaged_to[0]}x{averaged_to[1]} is larger than the images, "
            f"{images[0]}x{images[1]}; the network averages them down, never up"
        )
    return averaged_to


def image_input(image_format: ImageFormat, averaged_to: tuple[int, int] | None) -> tuple[Any, Any]:
    """The input, uint8[B, H, W, C], and its pixels, float32 in [0, 255], averaged down if asked.

    Raises:
        ValueError: a size to average down to that is larger than the images.
    """
    import keras
    from keras import ops

    from engine.networks import layers

    inputs = keras.Input(image_format.image_shape, dtype="uint8", name="image")
    pixels = ops.cast(inputs, "float32")
    size = working_size(image_format.image_size, averaged_to)
    if tuple(size) != tuple(image_format.image_size):
        pixels = layers.averaged_down(pixels, *size)
    return inputs, pixels


def classifier(inputs: Any, features: Any, *, num_classes: int, head: str, name: str) -> Any:
    """The model from `inputs` through features [B, F] to float32 logits and probabilities [B, units].

    Args:
        head: `sigmoid` (two classes, one unit), `softmax`, or `auto`.

    Raises:
        ValueError: a sigmoid head for other than two classes.
    """
    import keras

    head = choose_head(head, num_classes)
    units = 1 if head == "sigmoid" else num_classes
    logits = keras.layers.Dense(units, dtype="float32", name=LOGITS)(features)
    outputs = keras.layers.Activation(head, dtype="float32", name=PROBABILITIES)(logits)
    return keras.Model(inputs, outputs, name=name)

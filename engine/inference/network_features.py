"""What a network sees in images: the feature maps at the end of each resolution, averaged over their places.

    stem       [B, 112, 112,  24] -> [B,  24]
    stage 1    [B,  56,  56,  48] -> [B,  48]
    ...
    what the last dense layer takes  [B, F]

Found by running the model, whatever it is made of; of a model without feature maps and dense layers there
are none.
"""

from collections.abc import Callable
from typing import Any

from engine.inference import feature_maps

_MOST_CHANNELS = 4096  # of one group; wider ones are left out


def watched(model: Any) -> Callable[[Any], tuple[Any, dict[str, Any]]]:
    """A function that runs the model on images and gives its outputs, and its features by name.

    Features are float32[B, F], under names such as `maps0` in the order in which they are computed. For use
    inside `tf.function`.
    """
    import keras
    import tensorflow as tf

    def run(images: Any) -> tuple[Any, dict[str, Any]]:
        maps: dict[tuple[int, int], Any] = {}
        flat: list[Any] = []
        taken: list[Any] = []
        weighted = False

        def note(path: str, layer: Any, output: Any) -> None:
            nonlocal weighted
            weighted = weighted or bool(getattr(layer, "weights", None))
            if isinstance(layer, keras.layers.Dense):
                taken[:] = flat[-1:]
            if feature_maps.is_feature_map(output) and weighted:
                maps.pop(key := tuple(output.shape[1:3]), None)
                maps[key] = output
            elif _is_flat(output):
                flat.append(output)

        with feature_maps.observed(model, note):
            outputs = model(images, training=False)
        pooled = [tf.reduce_mean(tf.cast(found, tf.float32), (1, 2)) for found in maps.values()]
        groups = [*pooled, *(tf.cast(found, tf.float32) for found in taken)]
        fitting = [group for group in groups if group.shape[-1] <= _MOST_CHANNELS]
        return outputs, {f"maps{place}": group for place, group in enumerate(fitting)}

    return run


def _is_flat(output: Any) -> bool:
    shape = getattr(output, "shape", None)
    return (
        shape is not None
        and len(shape) == 2
        and shape[1] is not None
        and getattr(output.dtype, "is_floating", False)
    )

"""The network of most X-ray tutorials, written once for both versions of Keras."""

from typing import Any


def tutorial_layers(layers: Any) -> list[Any]:
    """Conv32-pool-Conv64-pool-Flatten-Dense128-Dropout0.5-sigmoid, after an input.

    Args:
        layers: `keras.layers` or `tf_keras.layers`.
    """
    return [
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(1, activation="sigmoid"),
    ]

"""A network of your own, for `python -m engine.train SHARDS --model examples/small_network.py:build`.

Its keyword parameters become flags: `--filters 32`, `--dropout 0.1`. `tuning.search` can search them.
"""

import keras


def build(image_format, num_classes, filters=16, dropout=0.2):
    """Images uint8[B, H, W, C] to one logit for two classes, or one logit per class for more."""
    model = keras.Sequential(
        [keras.Input(image_format.image_shape), keras.layers.Rescaling(1 / 255)]
    )
    for stage in range(4):
        model.add(keras.layers.Conv2D(filters * 2**stage, 3, padding="same", use_bias=False))
        model.add(keras.layers.BatchNormalization())
        model.add(keras.layers.ReLU())
        model.add(keras.layers.MaxPooling2D())
    model.add(keras.layers.GlobalAveragePooling2D())
    model.add(keras.layers.Dropout(dropout))
    model.add(keras.layers.Dense(1 if num_classes == 2 else num_classes))
    return model

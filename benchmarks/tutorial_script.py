"""The script of the tutorial on a few images, as it stands: Keras 2 (package tf-keras), `ImageDataGenerator`.

    python -m benchmarks.tutorial_script HELD_OUT FOLDER ...

trains in each FOLDER (`train`, `val`, `test` with a folder per class) and prints one JSON object per line, with
accuracies at a threshold of 0.5 on its test images and on the class folders in HELD_OUT. It runs in a process
of its own, because Keras 2 and 3 do not share one well.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

SIZE = (150, 150)
BATCH_SIZE = 10
EPOCHS = 10


def network(layers: Any, models: Any) -> Any:
    """Conv32-pool-Conv64-pool-Conv128-pool-Flatten-Dense512-sigmoid on 150 x 150 x 3.

    Args:
        layers, models: of `tf_keras`.
    """
    return models.Sequential(
        [
            layers.Conv2D(32, (3, 3), activation="relu", input_shape=(*SIZE, 3)),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(128, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def measure(folder: Path, held_out: Path, *, seed: int) -> dict[str, Any]:
    """Trains as the tutorial does; accuracies of the last epoch's weights, and the held-out scores."""
    import tf_keras
    from tf_keras.preprocessing.image import ImageDataGenerator

    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(seed)
    augmented = ImageDataGenerator(
        rescale=1 / 255, shear_range=0.2, zoom_range=0.2, horizontal_flip=True
    )
    plain = ImageDataGenerator(rescale=1 / 255)
    flow = {"target_size": SIZE, "batch_size": BATCH_SIZE, "class_mode": "binary"}
    train = augmented.flow_from_directory(str(folder / "train"), seed=seed, **flow)
    validation = plain.flow_from_directory(str(folder / "val"), **flow)
    model = network(tf_keras.layers, tf_keras.models)
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(train, epochs=EPOCHS, validation_data=validation, verbose=0)
    found: dict[str, Any] = {}
    for name, images in (("test", folder / "test"), ("held_out", held_out)):
        read = plain.flow_from_directory(str(images), shuffle=False, **flow)
        scores = model.predict(read, verbose=0)[:, 0]
        found[name] = float(np.mean((scores >= 0.5) == read.classes))
    return {**found, "labels": read.classes.tolist(), "scores": scores.astype(float).tolist()}


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    held_out, *folders = map(Path, argv)
    out = sys.stdout
    sys.stdout = sys.stderr  # where the generators say what they found
    for seed, folder in enumerate(folders):
        print(json.dumps(measure(folder, held_out, seed=seed)), file=out, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

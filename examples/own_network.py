"""From a folder of images to a measured classifier with a network of your own, in one script.

    python examples/own_network.py                  # on chest-like phantoms, made on the spot
    python examples/own_network.py --images FOLDER  # on a folder with one folder per class

Shards go to data/example-shards, the run to saved_models/example. Run it again and it continues where
it was interrupted.
"""

import argparse
from pathlib import Path

import keras
import small_network

import engine
from engine.base.build_settings import PhantomConfig
from engine.phantoms import phantom_folder


class Curve(keras.callbacks.Callback):
    """Prints the validation AUROC of each epoch as a bar."""

    def on_epoch_end(self, epoch, logs=None):
        print(f"epoch {epoch + 1:2}  {'#' * round(40 * logs['val_auroc'])} {logs['val_auroc']:.3f}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=6)
    arguments = parser.parse_args(argv)
    shards, run = Path("data/example-shards"), Path("saved_models/example")
    if arguments.images is None:
        arguments.images = Path("data/phantoms")
        phantom_folder.make_phantoms(PhantomConfig(), arguments.images)

    # 1. Decode once, split by patient. Finished shards are left alone.
    manifest = engine.build(
        arguments.images, shards, image_size=arguments.image_size, validation_fraction=0.1
    )
    for name, split in manifest.splits.items():
        print(f"{name}: {split.num_examples} images, {split.class_counts}")

    # 2. Train; the network is the function in small_network.py.
    engine.train(
        shards,
        run,
        model=small_network.build,
        epochs=arguments.epochs,
        global_batch_size=32,
        learning_rate=3e-3,
        callbacks=[Curve()],
        resume=(run / "config.json").exists(),
    )

    # 3. Measure on the test split: figures with 95 % intervals over patients.
    print(engine.evaluate(run, shards, split="test"))

    # 4. Predict files, with the run's own threshold.
    for prediction in engine.predict(run, arguments.images / "test")[:4]:
        print(f"{prediction.path.name}: {prediction.predicted} ({prediction.probability:.3f})")

    # 5. The model file is plain Keras: uint8 images in, probabilities out.
    model = keras.models.load_model(run / "model.keras")
    images, labels = next(iter(engine.datasets.evaluation(shards, split="test", batch_size=8)))
    print("labels       ", labels.numpy())
    print("probabilities", model.predict(images, verbose=0).ravel().round(3))


if __name__ == "__main__":
    main()

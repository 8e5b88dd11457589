"""A run directory and shards without training or building: a model that looks at brightness alone.

The probability of class k rises with the mean grey level (two classes), or is largest where the mean
is nearest to the class's own level (more classes), so tests know what is right without a network.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.base import files
from engine.images.format import ImageFormat
from engine.metrics.temperature import Calibration
from engine.runs import contract
from engine.runs.contract import InferenceContract
from engine.runs.run_directory import RunDirectory
from engine.shards import tfrecords

IMAGE_SIZE = (12, 16)
CLASS_NAMES = ("NORMAL", "PNEUMONIA")


def brightness_model(num_classes: int = 2, channels: int = 1):
    """uint8[B, 12, 16, C] -> the probability of a mean above 127.5, or of each of K levels."""
    import keras
    from keras import layers

    inputs = keras.Input((*IMAGE_SIZE, channels), dtype="uint8")
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones", name="last_convolution")(x)
    x = layers.GlobalAveragePooling2D()(x)
    units = 1 if num_classes == 2 else num_classes
    activation = "sigmoid" if num_classes == 2 else "softmax"
    logits = layers.Dense(units, name="logits")(x)
    model = keras.Model(inputs, layers.Activation(activation)(logits))
    if num_classes == 2:
        weights, biases = np.array([[8.0]]), np.array([-4.0])
    else:
        # -(x - level)^2 up to what all classes share is linear in x.
        levels = np.linspace(0, 1, num_classes)
        weights, biases = 60 * levels[None], -30 * levels**2
    model.get_layer("logits").set_weights([weights / channels, biases])
    return model


def make_run(
    directory: Path,
    *,
    class_names: Sequence[str] = CLASS_NAMES,
    channels: int = 1,
    threshold: float | None = 0.5,
    calibration: Calibration | None = None,
    model=None,
    **data,
) -> Path:
    """Writes model.keras, inference.json and environment.json; `data` overrides its entries."""
    directory.mkdir(parents=True, exist_ok=True)
    model = brightness_model(len(class_names), channels) if model is None else model
    run = RunDirectory(directory)
    model.save(run.model)
    described = {
        "class_names": list(class_names),
        "image_size": list(IMAGE_SIZE),
        "channels": channels,
        "keep_aspect_ratio": False,
        "resize_method": "antialiased bilinear",
        "fingerprint": "f" * 64,
        "shards": "shards",
        **data,
    }
    files.write_json(run.environment, {"data": described})
    changed = {name: data[name] for name in ("image_size", "bits") if name in data}
    image_format = ImageFormat(**{"image_size": IMAGE_SIZE, "channels": channels, **changed})
    run.inference.unlink(missing_ok=True)
    contract.begin(
        run, InferenceContract(image_format=image_format, class_names=tuple(class_names))
    )
    if threshold is not None and len(class_names) == 2:
        contract.complete(
            run, threshold=threshold, threshold_rule="youden", calibration=calibration
        )
    elif calibration is not None:
        contract.complete(run, calibration=calibration)
    return directory


def make_shards(
    directory: Path,
    images: np.ndarray,
    labels: Sequence[int],
    patients: Sequence[str],
    *,
    class_names: Sequence[str] = CLASS_NAMES,
    split: str = "test",
    fingerprint: str = "f" * 64,
    seed: int = 0,
) -> Path:
    """Writes one split of raw uint8[N, H, W, C] images, in two shards."""
    directory.mkdir(parents=True, exist_ok=True)
    shards = []
    for number, members in enumerate(np.array_split(np.arange(len(images)), 2)):
        name = tfrecords.shard_name(split, number, 2)
        with tfrecords.ShardWriter(directory / name, name=name) as writer:
            for i in members:
                example = tfrecords.serialize_example(
                    image=images[i].tobytes(),
                    label=int(labels[i]),
                    path=f"{split}/{class_names[labels[i]]}/{i}.png",
                    patient=patients[i],
                )
                writer.write(tfrecords.frame_record(example))
            shards.append(writer.info())
    counts = {name: int(np.sum(np.asarray(labels) == k)) for k, name in enumerate(class_names)}
    manifest = tfrecords.Manifest(
        class_names=tuple(class_names),
        image_size=images.shape[1:3],
        channels=images.shape[3],
        encoding="raw",
        keep_aspect_ratio=False,
        resize_method="antialiased bilinear",
        group_by="patient",
        seed=seed,
        source={"name": "images", "num_files": len(images), "fingerprint": fingerprint},
        splits={
            split: tfrecords.SplitInfo(
                num_examples=len(images), class_counts=counts, shards=tuple(shards)
            )
        },
    )
    tfrecords.write_manifest(directory, manifest)
    return directory


def grey_images(levels: Sequence[int], channels: int = 1, seed: int = 0) -> np.ndarray:
    """uint8[N, 12, 16, C]: noise around each grey level."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 8, (len(levels), *IMAGE_SIZE, channels))
    return np.clip(np.asarray(levels)[:, None, None, None] + noise, 0, 255).astype(np.uint8)


def remember(directory: Path, images: np.ndarray) -> None:
    """Writes `applicability.npz` for a run, as if it had been trained on such images."""
    from engine.inference import applicability
    from engine.inference.applicability import Applicability
    from engine.inference.predictor import Predictor

    features = Predictor.load(directory, batch_size=32).features(images)
    halves = ({name: values[half::2] for name, values in features.items()} for half in (0, 1))
    applicability.write(RunDirectory(directory), Applicability.fit(*halves))

"""What many tests share: small shards, of phantoms and of stripes, and hardware that a test needs.

TensorFlow is imported by the tests that need it, not here.
"""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# What stands in ~/.keras/keras.json must not decide what is tested.
os.environ["KERAS_BACKEND"] = "tensorflow"

IMAGE_SIZE = (32, 32)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """128 phantoms of 64 to 96 pixels in Kaggle's layout: 96 train, 8 val, 24 test. Read only."""
    import small_phantoms

    directory = tmp_path_factory.mktemp("images") / "phantoms"
    return small_phantoms.make(directory, train_images=96, max_size=96)


@pytest.fixture(scope="session")
def shards(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards of `image_folder`: 32 x 32 x 1, a fifth of train for validation. Read only."""
    from engine.base.build_settings import BuildConfig
    from engine.shards import builder

    directory = tmp_path_factory.mktemp("shards") / "phantoms"
    config = BuildConfig(image_size=IMAGE_SIZE, channels=1, validation_fraction=0.2, workers=1)
    builder.build(config, image_folder, directory)
    return directory


@pytest.fixture(scope="session")
def striped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of striped images of 16 x 16 x 1, which a small network learns in an epoch. Read only."""
    from numbered_shards import striped_image, write_shards

    directory = tmp_path_factory.mktemp("striped")
    write_shards(directory, {"train": 100, "validation": 40, "test": 40}, draw=striped_image)
    return directory


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips tests marked `gpu` and `multi_gpu` where there are fewer GPUs."""
    needed = (
        2 if item.get_closest_marker("multi_gpu") else 1 if item.get_closest_marker("gpu") else 0
    )
    if not needed:
        return
    import tensorflow as tf

    found = len(tf.config.list_physical_devices("GPU"))
    if found < needed:
        pytest.skip(f"needs {needed} GPU(s), found {found}")

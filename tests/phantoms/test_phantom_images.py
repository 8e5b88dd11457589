import numpy as np
import pytest

from engine.phantoms import phantom_images
from engine.phantoms.phantom_images import draw_phantom

FINDINGS = (None, *phantom_images.FINDINGS)
SMALL = {"min_size": 64, "max_size": 96}


def draw(patient=(0, 0, 0), view=0, finding=None, seed=0, **size) -> np.ndarray:
    return draw_phantom(seed=seed, patient=patient, view=view, finding=finding, **(size or SMALL))


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """The share of pairs in which the positive is the larger, ties counting half."""
    difference = positive[:, None] - negative[None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


@pytest.fixture(scope="module")
def images() -> dict[str | None, list[np.ndarray]]:
    """400 images of other patients for each finding."""
    return {
        finding: [draw(patient=(index, patient), finding=finding) for patient in range(400)]
        for index, finding in enumerate(FINDINGS)
    }


def test_an_image_is_uint8_of_the_size_asked_for() -> None:
    for patient in range(20):
        image = draw(patient=(patient,), min_size=100, max_size=140)
        assert image.dtype == np.uint8 and image.ndim == 2
        height, width = image.shape
        assert 100 <= width <= 140
        assert 0.7 * width <= height <= width


@pytest.mark.parametrize("size", [32, 33, 61])
def test_the_smallest_sizes_draw(size) -> None:
    assert draw(min_size=size, max_size=size).shape[1] == size


@pytest.mark.parametrize("finding", FINDINGS)
def test_the_same_arguments_give_the_same_image(finding) -> None:
    np.testing.assert_array_equal(draw(finding=finding), draw(finding=finding))


@pytest.mark.parametrize("other", [{"seed": 1}, {"patient": (0, 0, 1)}, {"view": 1}])
def test_other_seeds_patients_and_views_give_other_images(other) -> None:
    first, second = draw(), draw(**other)
    assert first.shape != second.shape or (first != second).any()


def test_bands_of_rows_do_not_show(monkeypatch) -> None:
    whole = draw(finding="virus")
    monkeypatch.setattr(phantom_images, "BAND_PIXELS", 500)
    np.testing.assert_array_equal(draw(finding="virus"), whole)


def test_an_unknown_finding_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'flu'.*bacteria"):
        draw(finding="flu")


def test_a_patient_keeps_anatomy_and_opacities_in_every_view(monkeypatch) -> None:
    """With position, exposure and noise held still, views of one patient are one image."""
    pose = phantom_images.draw_view(np.random.default_rng(0), min_size=64, max_size=64)
    monkeypatch.setattr(phantom_images, "draw_view", lambda rng, **sizes: pose)
    first = draw(view=0, finding="virus")
    np.testing.assert_array_equal(draw(view=1, finding="virus"), first)
    assert (draw(patient=(0, 0, 1), finding="virus") != first).any()


@pytest.mark.parametrize("finding", phantom_images.FINDINGS)
def test_opacities_lie_inside_the_lungs(finding) -> None:
    """The beam is weakened more where the lungs are, and nowhere else."""
    for patient in range(10):
        rng = np.random.default_rng(patient)
        anatomy = phantom_images.draw_anatomy(rng)
        opacity = phantom_images.draw_opacity(rng, finding)
        pose = phantom_images.draw_view(rng, min_size=96, max_size=96)
        healthy = phantom_images.attenuation(anatomy, np.zeros_like(opacity), pose)
        sick = phantom_images.attenuation(anatomy, opacity, pose)
        changed = sick - healthy
        assert changed.min() > -1e-5
        assert 0.03 < (changed > 0.03).mean() < 0.45
        x, y = phantom_images._body_grid(pose)
        outside = (np.abs(x) > 0.9) | (y < -0.8) | (y > 0.8)
        assert np.abs(changed[outside]).max(initial=0) < 1e-5


def test_opacities_are_soft() -> None:
    opacity = phantom_images.draw_opacity(np.random.default_rng(0), "bacteria")
    assert opacity.dtype == np.float32
    assert 0.3 < opacity.max() <= 0.9 and opacity.min() == 0.0
    assert np.abs(np.diff(opacity, axis=0)).max() < 0.25


@pytest.mark.parametrize("finding", phantom_images.FINDINGS)
@pytest.mark.parametrize(
    "measure",
    [np.mean, np.std, np.median, np.size, lambda a: a.shape[0], lambda a: a.shape[1]],
    ids=["mean", "std", "median", "size", "height", "width"],
)
def test_no_global_measure_separates_the_classes(images, measure, finding) -> None:
    # The standard error of an AUROC of 400 against 400 without any signal is 0.02.
    value = auroc(
        np.array([measure(image) for image in images[finding]], float),
        np.array([measure(image) for image in images[None]], float),
    )
    assert abs(value - 0.5) < (0.15 if measure is np.median else 0.08)


def test_a_linear_look_at_the_lungs_does_separate_the_classes(images) -> None:
    """What mean brightness does not give away is there for whoever looks at where it lies."""

    def features(found: list[np.ndarray]) -> np.ndarray:
        from PIL import Image

        small = [np.asarray(Image.fromarray(image).resize((24, 24))) for image in found]
        flat = np.stack(small).reshape(len(small), -1).astype(float)
        return flat / 255.0

    healthy = features(images[None])
    sick = features(images["bacteria"][:200] + images["virus"][:200])
    train = np.concatenate([healthy[:300], sick[:150], sick[200:350]])
    target = np.repeat([-1.0, 1.0], 300)
    mean = train.mean(axis=0)
    ridge = (train - mean).T @ (train - mean) + 10.0 * np.eye(train.shape[1])
    weights = np.linalg.solve(ridge, (train - mean).T @ target)
    held_out = np.concatenate([sick[150:200], sick[350:]])
    assert auroc((held_out - mean) @ weights, (healthy[300:] - mean) @ weights) > 0.75


@pytest.mark.slow
def test_a_small_cnn_separates_the_classes(images) -> None:
    import keras
    from keras import layers
    from PIL import Image

    def inputs(found: list[np.ndarray]) -> np.ndarray:
        return np.stack([np.asarray(Image.fromarray(image).resize((48, 48))) for image in found])

    healthy, sick = inputs(images[None]), inputs(images["bacteria"][:200] + images["virus"][:200])
    held_out = np.arange(400) % 4 == 0
    train = np.concatenate([healthy[~held_out], sick[~held_out]])[..., None]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((48, 48, 1)), layers.Rescaling(1 / 64, offset=-2)])
    for channels in (16, 32, 64):
        model.add(layers.Conv2D(channels, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dropout(0.4))
    model.add(layers.Dense(1, activation="sigmoid"))
    model.compile(keras.optimizers.Adam(2e-3), "binary_crossentropy")
    model.fit(train, np.repeat([0, 1], 300), epochs=20, batch_size=32, verbose=0)
    scores = [
        model.predict(group[held_out][..., None], verbose=0)[:, 0] for group in (sick, healthy)
    ]
    assert auroc(*scores) > 0.9

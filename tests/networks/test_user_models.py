import keras
import numpy as np
import pytest

from engine.base.config import UserError
from engine.base.settings import ModelSettings, TrainConfig
from engine.images.format import ImageFormat
from engine.networks import registry, user_models

IMAGES = ImageFormat(image_size=(8, 6), channels=1)
WORKING = """
import keras

def build(image_format, num_classes, width=4, dropout: float = 0, kind="plain", deep=False):
    return keras.Sequential([
        keras.Input(image_format.image_shape),
        keras.layers.Flatten(),
        keras.layers.Dense(width),
        keras.layers.Dense(num_classes, activation="softmax"),
    ])
"""


@pytest.fixture
def named(tmp_path, monkeypatch):
    """A function that writes a file and resolves a function in it."""
    monkeypatch.chdir(tmp_path)

    def resolve(source, function="build", name="net.py"):
        (tmp_path / name).write_text(source)
        return registry.resolve(f"{name}:{function}")

    return resolve


def built(network, **settings):
    config = ModelSettings(model=network.name, model_settings=settings)
    return registry.build(network, config, IMAGES, 3)


def test_a_function_in_a_file_is_built_with_its_settings(named):
    network = named(WORKING)
    assert [(p.name, p.kind, p.default) for p in network.parameters] == [
        ("width", int, 4), ("dropout", float, 0.0), ("kind", str, "plain"), ("deep", bool, False),
    ]  # fmt: skip
    assert built(network).layers[1].units == 4
    assert built(network, width=7).layers[1].units == 7


def test_a_function_in_a_package_is_found_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some_package_of_mine").mkdir()
    (tmp_path / "some_package_of_mine" / "nets.py").write_text(WORKING)
    network = registry.resolve("some_package_of_mine.nets:build")
    assert isinstance(built(network), keras.Model)


def test_signatures_are_read_without_running_the_file(named):
    network = named("raise SystemExit\n" + WORKING)
    assert len(network.parameters) == 4


@pytest.mark.parametrize(
    "source",
    [
        "from functools import partial\ndef make(f, n, a=1, b=2): ...\nbuild = partial(make, b=3)\n",
        "A = 1\ndef build(image_format, num_classes, a=A, b: int = 3): ...\n",
        "def outer(f): return f\n@outer\ndef build(image_format, num_classes, a=1, *, b=3): ...\n",
        "class Build:\n    def __init__(self, f, n, a=1, b=3): ...\nbuild = Build\n",
    ],
)
def test_signatures_that_the_source_does_not_show_are_those_of_the_function(named, source):
    assert [(p.name, p.default) for p in named(source).parameters] == [("a", 1), ("b", 3)]


@pytest.mark.parametrize(
    ("annotation", "default", "kind", "choices", "optional"),
    [
        ("int | None", "None", int, None, True),
        ("Optional[float]", "0.5", float, None, True),
        ("Literal['a', 'b']", "'a'", str, ("a", "b"), False),
        ("typing.Literal[1, 2] | None", "None", int, (1, 2), True),
    ],
)
def test_annotations_say_what_a_setting_takes(named, annotation, default, kind, choices, optional):
    source = "import typing\nfrom typing import Literal, Optional\n"
    source += f"def build(image_format, num_classes, x: {annotation} = {default}): ...\n"
    (read,) = named(source).parameters
    (run,) = named(source + "build = build\n", name="other.py").parameters
    assert (read.kind, read.choices, read.optional) == (kind, choices, optional)
    assert read == run


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def build(image_format): ...", "takes 1 parameters by position"),
        ("def build(i, n, depth): ...", "net.py:1: the parameter 'depth' has no default"),
        ("def build(i, n, x=()): ...", "'x' has the default"),
        ("def build(i, n, x=None): ...", "'x' has the default None without an annotation"),
        ("def build(i, n, x: int = 'a'): ...", "'x' has the default 'a'"),
        ("def build(i, n, epochs=3): ...", "name of a setting of engine.train, --epochs"),
        ("def built(i, n): ...", "no function 'build'; did you mean built"),
        ("def build(i, n:\n  ...", "net.py:1: "),
    ],
)
def test_a_function_that_cannot_be_used_is_refused_in_one_line(named, source, message):
    with pytest.raises(UserError) as caught:
        named(source)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    return 1 / 0", "net.py:2: ZeroDivisionError: division by zero"),
        ("    return 5", "gave int, expected a Keras model"),
        ("    import nothing_of_this_name", "net.py:2: ModuleNotFoundError"),
    ],
)
def test_errors_in_the_users_code_name_file_and_line(named, body, message):
    network = named(f"def build(image_format, num_classes):\n{body}\n")
    with pytest.raises(UserError) as caught:
        built(network)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_errors_of_a_subclassed_model_name_the_line_of_its_call(named):
    network = named(
        "import keras\nclass Net(keras.Model):\n    def call(self, x):\n        return x.nothing\n"
        "def build(image_format, num_classes):\n    return Net()\n"
    )
    config = ModelSettings(model=network.name, model_outputs="logits")
    model = registry.build(network, config, IMAGES, 2)
    with pytest.raises(UserError, match=r"net.py:4: AttributeError"):
        registry.build_training_form(network, model, config, IMAGES, 2)


def test_settings_are_completed_checked_and_refused(named):
    network = named(WORKING)
    config = TrainConfig(model=network.name, model_settings={"width": "6"})
    assert registry.checked(network, config).model_settings == {
        "width": 6, "dropout": 0.0, "kind": "plain", "deep": False,
    }  # fmt: skip
    for settings, message in [
        ({"width": "many"}, "--width: got 'many', expected a whole number"),
        ({"width": 1.5}, "--width: got 1.5"),
        ({"deep": 1}, "--deep: got 1, expected true or false"),
        ({"widht": 1}, "no setting 'widht'; did you mean 'width'"),
        ({"dropout": "nan"}, "--dropout"),
    ]:
        with pytest.raises(UserError, match=message):
            registry.checked(network, TrainConfig(model=network.name, model_settings=settings))
    with pytest.raises(UserError, match=r"--depth: --model net\.py:build does not use it"):
        registry.checked(network, TrainConfig(model=network.name, depth=3))


def test_functions_and_models_of_python_are_networks_too():
    def build(image_format, num_classes, units=2):
        return keras.Sequential([keras.Input(image_format.image_shape), keras.layers.Dense(units)])

    network = registry.resolve(build)
    assert network.name.endswith("build") and built(network, units=3).layers[0].units == 3
    model = build(IMAGES, 3)
    given = registry.resolve(model)
    copy = built(given)  # in the scope of the devices, and the user's own stays as it is
    assert given.name == user_models.KERAS_MODEL and copy is not model
    for own, copied in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(own, copied)
    with pytest.raises(UserError, match="expected a network's name"):
        registry.resolve(5)

import functools

import keras

from engine.training import code_identity


def build(image_format, num_classes):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(num_classes)])


class Loss:
    def __call__(self, labels, logits):
        return logits


def of(code):
    return code_identity.describe(model=code).get("model")


def test_a_function_a_partial_and_an_object_are_known_by_their_file():
    assert of(build)["file"] == __file__
    assert of(functools.partial(build, num_classes=3)) == of(build) == of(Loss())


def test_what_has_no_source_is_not_compared():
    assert code_identity.describe(model=lambda *_: None, loss=None) == {}
    assert of(len) is None
    assert code_identity.differences({}, {"model": of(build)}) == []


def test_a_function_of_the_program_itself_is_known_by_its_own_text(monkeypatch):
    """A program may be edited between two trainings, for example to add `resume=True`."""
    whole = of(build)
    monkeypatch.setattr(build, "__module__", "__main__")
    assert of(build)["sha256"] != whole["sha256"]


def test_a_keras_model_is_known_by_its_architecture():
    """Names count the layers that Keras has made, so they differ between equal models."""
    assert of(build(None, 2))["sha256"] == of(build(None, 2))["sha256"]
    before, now = {"model": of(build(None, 2))}, {"model": of(build(None, 3))}
    (said,) = code_identity.differences(before, now)
    assert "the Keras model" in said and said.endswith("(--model)")

"""Networks of users' own: a function in a file or a package, or a Keras model made in Python.

    def build(image_format, num_classes, width=32, dropout=0.3):
        ...
        return keras.Model(inputs, outputs)

The function gets an `ImageFormat` and the number of classes, and its other parameters as keywords; each
of these has a default, and becomes a flag. The model takes images [B, H, W, C], uint8 or float32, with
values from 0 to 255 either way, and gives logits or probabilities: one unit is the sigmoid of the second
class, several are a softmax.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.base import user_code
from engine.base.config import UserError
from engine.base.setting_names import flag_name
from engine.base.settings import ModelSettings, TrainConfig
from engine.base.user_code import Reference
from engine.networks import user_signature
from engine.networks.network import Network, Parameter

KERAS_MODEL = "keras.Model"  # what `--model` is recorded as where a model was given in Python
# Names of parameters that would mean two things: the settings of training. Those of the built-in networks
# mean nothing to a user's.
_TAKEN = {field.name for field in dataclasses.fields(TrainConfig)} - {
    field.name for field in dataclasses.fields(ModelSettings)
} | {"model", "model_outputs", "model_settings"}


def of_reference(text: str) -> Network:
    """The network of `package.module:function` or `FILE.py:function`.

    The signature is read from the source where that is enough: then nothing is imported until `build`.

    Raises:
        UserError: there is no such file, module or function, its parameters cannot be settings, or its
            code fails.
    """
    reference = Reference.parse(text, flag="--model")
    source = reference.source()
    parameters = None if source is None else user_signature.from_source(source, reference)
    if parameters is None:
        parameters = user_signature.from_callable(reference.load(), str(reference))

    def build(image_format: Any, num_classes: int, **settings: Any) -> Any:
        function = reference.load()
        with reference.errors_located(source):
            return _checked(function(image_format, num_classes, **settings), str(reference))

    return Network(
        name=text,
        summary="a function of your own",
        build=build,
        parameters=_free_to_use(parameters, str(reference)),
        precision_advice=_precision_advice,
        source=source,
        code=reference,
    )


def _free_to_use(parameters: tuple[Parameter, ...], where: str) -> tuple[Parameter, ...]:
    for parameter in parameters:
        if parameter.name in _TAKEN:
            raise UserError(
                f"{where}: the parameter {parameter.name!r} has the name of a setting of engine.train, "
                f"{flag_name(parameter.name)}; rename it"
            )
    return parameters


def of_object(model: Any) -> Network:
    """The network of a function or a Keras model.

    Raises:
        UserError: it is neither, or its parameters cannot be settings.
    """
    import keras

    if isinstance(model, keras.Model):
        return Network(
            name=KERAS_MODEL,
            summary=f"the Keras model {model.name!r}",
            build=lambda image_format, num_classes: _copy_of(model),
            precision_advice=_precision_advice,
            code=model,
        )
    if not callable(model):
        raise UserError(
            f"model={model!r}: expected a network's name, a Keras model, or a function that builds one"
        )
    name = user_code.name_of(model)
    code = getattr(model, "__code__", None)

    def build(image_format: Any, num_classes: int, **settings: Any) -> Any:
        with errors_located(network):
            return _checked(model(image_format, num_classes, **settings), f"model={name}")

    network = Network(
        name=name,
        summary="a function of your own",
        build=build,
        parameters=_free_to_use(user_signature.from_callable(model, f"model={name}"), name),
        precision_advice=_precision_advice,
        source=None if code is None else Path(code.co_filename),
        code=model,
    )
    return network


@contextlib.contextmanager
def errors_located(network: Network) -> Iterator[None]:
    """Turns what fails in the user's own code into one line with its file and line number.

    Raises:
        UserError: an error passed through the user's file; others pass as they are.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        place = user_code.place_of(error, network.source)
        if place is None:
            raise
        raise UserError(
            f"--model {network.name}: {place}: {user_code.first_line(error)}"
        ) from error


def _precision_advice(settings: Any) -> str:
    return "a network of your own may have layers that are slower in bfloat16 without AMX"


def _copy_of(model: Any) -> Any:
    """A copy, whose variables are those of the devices that train; the user's model stays as it is.

    Raises:
        UserError: Keras cannot copy the model.
    """
    import keras

    try:
        copy = keras.models.clone_model(model)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UserError(
            f"model={type(model).__name__}(...): Keras cannot copy a model whose call() is code; give a "
            "function that builds it, from an image format and a number of classes"
        ) from error
    copy.set_weights(model.get_weights())
    return copy


def _checked(model: Any, name: str) -> Any:
    import keras

    if not isinstance(model, keras.Model):
        raise UserError(
            f"{name}: gave {type(model).__name__}, expected a Keras model "
            "(keras.Model, keras.Sequential or a subclass)"
        )
    return model

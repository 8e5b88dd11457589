"""The state of a Keras callback that a resumed training needs: what training changed of its attributes."""

from typing import Any

import keras
import numpy as np

# What `fit` sets anew, or turns round by itself (the sign of `min_delta`).
_NOT_STATE = frozenset({"_model", "params", "validation_data", "min_delta"})


def initial(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """A callback's attributes before training, for `changed`; lists are copied."""
    return {
        name: list(value) if isinstance(value, list) else value
        for name, value in vars(callback).items()
    }


def changed(
    callback: keras.callbacks.Callback, before: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
    """What training has changed in a callback: plain values, and lists of arrays.

    Plain are None, numbers, strings, and lists of these.
    """
    values: dict[str, Any] = {}
    lists: dict[str, list[np.ndarray]] = {}
    for name, value in vars(callback).items():
        if name in _NOT_STATE:
            continue
        if isinstance(value, list) and value and all(isinstance(v, np.ndarray) for v in value):
            lists[name] = value
            continue
        if isinstance(value, list):
            value = [_plain(item) for item in value]
        value = _plain(value)
        single = value if isinstance(value, list) else [value]
        is_plain = all(item is None or isinstance(item, (bool, int, float, str)) for item in single)
        if is_plain and (name not in before or _differ(before[name], value)):
            values[name] = value
    return values, lists


def _differ(before: Any, now: Any) -> bool:
    """Whether two values differ; by their texts, as arrays, and NaN, have no equality of their own."""
    return type(before) is not type(now) or repr(before) != repr(now)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, (np.number, np.bool_)) else value

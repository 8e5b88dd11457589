"""JSON values as YAML text: what a model card's metadata need of it, without a library.

Every text is quoted, so that none is taken for a number, a date, `no` or a comment; numbers have the form that
YAML 1.1 and 1.2 both read as numbers (`0.000010`, as `1e-05` is a text to the former). See
https://yaml.org/spec/1.2.2/.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

# Without those that YAML 1.1 takes for truth values or nothing, whatever their case.
_PLAIN_KEY = re.compile(
    r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[a-z][a-z0-9_-]*", re.IGNORECASE
)
# What a quoted text may not hold as it is; the others are as JSON writes them.
_UNPRINTABLE = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def dumped(value: Any, indent: int = 0) -> str:
    """A mapping or a list as YAML in block style, with a final newline.

    Args:
        value: of mappings with text as keys, lists, texts, numbers, booleans and None.
        indent: how many columns to the right.

    Raises:
        ValueError: a number is not finite, or something is none of these.
    """
    return "".join(f"{' ' * indent}{line}\n" for line in _lines(value))


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping) and value:
        lines = []
        for key, item in value.items():
            name = key if _PLAIN_KEY.fullmatch(key) else _text(key)
            if _is_block(item):
                lines += [f"{name}:", *(f"  {line}" for line in _lines(item))]
            else:
                lines.append(f"{name}: {_scalar(item)}")
        return lines
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        lines = []
        for item in value:
            first, *others = _lines(item) if _is_block(item) else [_scalar(item)]
            lines += [f"- {first}", *(f"  {line}" for line in others)]
        return lines
    return [_scalar(value)]


def _is_block(value: Any) -> bool:
    return isinstance(value, (Mapping, list, tuple)) and bool(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"expected a finite number, got {value}")
        return f"{value:.6f}"
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, (list, tuple)):
        return "[]"
    raise ValueError(f"expected a JSON value, got {value!r}")


def _text(value: str) -> str:
    quoted = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)

"""What values read from a file must be: rules by key, and a checksum over the values.

What an outside file holds is material: it is compared with its rules before anything is done with
it, and an error shows no more of it than a line takes.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

CHECKSUM = "checksum"  # the key under which `sealed` puts it

_SHOWN_CHARACTERS = 60


class SchemaError(ValueError):
    """Values break a rule; the message is one line: what arrived and what was expected."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """What one value must be, in words and as a test."""

    expected: str
    holds: Callable[[Any], bool]


def require(values: Any, rules: Mapping[str, Rule], *, where: str = "") -> None:
    """Raises `SchemaError` unless `values` has exactly the keys of `rules`, and each rule holds.

    Args:
        where: what stands before the keys in the message, such as `splits.train.`.
    """
    if not isinstance(values, dict):
        raise SchemaError(f"{where or 'the whole'}: got {shown(values)}, expected an object")
    if missing := [key for key in rules if key not in values]:
        raise SchemaError(f"{where}{missing[0]} is missing")
    if unknown := [key for key in values if key not in rules]:
        raise SchemaError(f"{shown(where + unknown[0])} is not a known key")
    for key, rule in rules.items():
        if not rule.holds(values[key]):
            raise SchemaError(f"{where}{key}: got {shown(values[key])}, expected {rule.expected}")


def sealed(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with their checksum: a SHA-256 (hex) of their JSON, sorted and without spaces.

    Raises:
        ValueError: a number is infinite or NaN.
    """
    return {**values, CHECKSUM: _digest(values)}


def unsealed(values: Any) -> dict[str, Any]:
    """`values` without the checksum that `sealed` put in.

    Raises:
        SchemaError: there is none, or the values are not those that it was made of.
    """
    if not isinstance(values, dict):
        raise SchemaError(f"got {shown(values)}, expected an object")
    bare = {key: value for key, value in values.items() if key != CHECKSUM}
    if _digest(bare) != values.get(CHECKSUM):
        raise SchemaError("its checksum does not match its contents; it was edited or damaged")
    return bare


def _digest(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def shown(value: Any) -> str:
    """A value as an error line shows it: escaped, and cut where it is long."""
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


# ---------------------------------------------------------------------------- common rules


def is_count(value: Any) -> bool:
    """Whether it is a whole number, 0 or more; True and False are none."""
    return type(value) is int and value >= 0


def is_text(value: Any) -> bool:
    """Whether it is a string."""
    return isinstance(value, str)


def is_digest(value: Any) -> bool:
    """Whether it is a SHA-256 in lower-case hexadecimal digits."""
    return is_text(value) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def one_of(*choices: Any) -> Rule:
    """A value among some, of the same type (1 is not True)."""
    return Rule(
        f"one of {', '.join(map(str, choices))}",
        lambda value: any(type(value) is type(choice) and value == choice for choice in choices),
    )


def names(expected: str, *, at_least: int) -> Rule:
    """A list of different, non-empty texts, no fewer than `at_least`."""

    def are_names(value: Any) -> bool:
        return (
            isinstance(value, list)
            and len(value) >= at_least
            and all(is_text(name) and name for name in value)
            and len(set(value)) == len(value)
        )

    return Rule(expected, are_names)


COUNT = Rule("a whole number, 0 or more", is_count)
TEXT = Rule("text", is_text)
BOOLEAN = Rule("true or false", lambda value: isinstance(value, bool))
DIGEST = Rule("a SHA-256 of 64 hexadecimal digits", is_digest)
OBJECT = Rule("an object", lambda value: isinstance(value, dict))
TEXTS = Rule("a list of texts", lambda value: isinstance(value, list) and all(map(is_text, value)))

"""What the text of a setting means, and whether it is one that the setting takes.

Every function raises `ValueError` with what was expected.
"""

import itertools
import re
from pathlib import Path

from engine.base.setting_names import closest

FIGURE_FORMATS = ("png", "svg", "pdf")


def parse_image_size(text: str) -> tuple[int, int]:
    """`224` or `HxW`, such as `192x256`, to (height, width) in pixels."""
    expected = "expected N or HxW, each between 8 and 8192 pixels"
    try:
        sizes = [int(part) for part in text.lower().split("x")]
    except ValueError:
        raise ValueError(expected) from None
    if len(sizes) not in (1, 2) or min(sizes) < 8 or max(sizes) > 8192:
        raise ValueError(expected)
    return sizes[0], sizes[-1]


def parse_interval(text: str) -> tuple[int | None, float | None]:
    """`500` or `10m`: (steps, None) or (None, seconds)."""
    try:
        if text.endswith("m"):
            seconds = float(text[:-1]) * 60
            if not 0 < seconds < float("inf"):
                raise ValueError
            return None, seconds
        steps = int(text)
        if steps < 1:
            raise ValueError
        return steps, None
    except ValueError:
        raise ValueError(
            "expected a number of steps, such as 500, or of minutes, such as 10m"
        ) from None


def parse_part(text: str) -> tuple[int, int]:
    """`K/N` to (K, N), K from 1 to N."""
    first, _, last = text.partition("/")
    number, count = (int(word) if word.isdecimal() else 0 for word in (first, last))
    if not 1 <= number <= count:
        raise ValueError("expected K/N, the K-th of N parts, such as 1/4")
    return number, count


def check_part(text: str) -> str:
    """`text` itself, if `parse_part` takes it."""
    parse_part(text)
    return text


def check_interval(text: str) -> str:
    """`text` itself, if `parse_interval` takes it."""
    parse_interval(text)
    return text


def parse_step_range(text: str) -> tuple[int, int]:
    """`FROM:TO`, both included, counted from 1."""
    first, _, last = text.partition(":")
    try:
        steps = int(first), int(last)
    except ValueError:
        steps = 0, 0
    if not 1 <= steps[0] <= steps[1]:
        raise ValueError("expected FROM:TO, steps counted from 1, such as 10:20")
    return steps


def check_step_range(text: str) -> str:
    """`text` itself, if `parse_step_range` takes it."""
    parse_step_range(text)
    return text


def check_directory_name(text: str) -> str:
    """`text` itself, if it can name a directory anywhere."""
    if not re.fullmatch(r"\w[\w.-]{0,99}", text, re.ASCII):
        raise ValueError("expected a name of letters, digits, '.', '-' and '_'")
    return text


def check_steps_per_execution(text: str) -> str:
    """`text` itself, if it is `auto` or a number of steps."""
    if text != "auto" and not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1000):
        raise ValueError("expected auto, or a number of steps from 1 to 1000")
    return text


def check_service_address(text: str) -> str:
    """`text` itself, if it is `grpc://HOST:PORT`."""
    host, _, port = text.removeprefix("grpc://").rpartition(":")
    valid = host and "/" not in host and port.isascii() and port.isdigit() and int(port) < 65536
    if not text.startswith("grpc://") or not valid:
        raise ValueError("expected grpc://HOST:PORT, such as grpc://localhost:5050")
    return text


def check_loss(text: str) -> str:
    """`text` itself, if it names a loss or a function."""
    names = ("cross_entropy", "focal")
    where, _, function = text.rpartition(":")
    if text not in names and not (where and function):
        meant = closest(text, names)
        hint = f"; did you mean {meant}?" if meant else ""
        raise ValueError(
            f"expected {', '.join(names)}, package.module:function or FILE.py:function{hint}"
        )
    return text


def parse_figure_formats(text: str) -> tuple[str, ...]:
    """`png,svg,pdf` or some of them to their names, PNG always first: reports show it."""
    given = [name.strip().lower().removeprefix(".") for name in text.split(",")]
    for name in given:
        if name not in FIGURE_FORMATS:
            meant = closest(name, FIGURE_FORMATS)
            hint = f"; did you mean {meant}?" if meant else ""
            raise ValueError(f"expected some of {','.join(FIGURE_FORMATS)}{hint}")
    return tuple(dict.fromkeys(("png", *given)))


def parse_class_mapping(text: str) -> dict[str, str]:
    """`theirs=ours,other=ours` to a dictionary; names are without surrounding blanks.

    What belongs to a name is written `\\,` and `\\=`, as `escaped_class` does.
    """
    expected = (
        "expected SHARDS' NAME=RUN'S NAME[,...], such as 'No Finding=NORMAL,Infiltration=PNEUMONIA'"
    )
    pairs = [
        [re.sub(r"\\([,=])", r"\1", name).strip() for name in re.split(r"(?<!\\)=", pair)]
        for pair in re.split(r"(?<!\\),", text)
    ]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise ValueError(expected)
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("expected each class of the shards once")
    return mapping


def escaped_class(name: str) -> str:
    """A class name as part of a mapping of classes."""
    return re.sub(r"([,=])", r"\\\1", name)


def check_class_mapping(text: str) -> str:
    """`text` itself, if `parse_class_mapping` takes it."""
    parse_class_mapping(text)
    return text


StrataColumns = list[tuple[str, tuple[float, ...] | None]]


def parse_strata(text: str) -> tuple[Path, StrataColumns]:
    """`FILE.csv:view,age:18,40` to the file, and each column with its limits, None for the usual ones."""
    expected = "expected FILE.csv:COLUMN[,COLUMN...], such as metadata.csv:view,age:18,40,60"
    match = re.fullmatch(r"(.+?\.\w+|[^:]+):(.+)", text)
    if match is None:
        raise ValueError(expected)
    columns: list[tuple[str, list[float] | None]] = []
    for part in match[2].split(","):
        number = _number(part)
        if number is not None and columns and columns[-1][1] is not None:
            columns[-1][1].append(number)
            continue
        name, colon, first = part.partition(":")
        limit = _number(first)
        if not name.strip() or (colon and limit is None):
            raise ValueError(expected)
        columns.append((name.strip(), None if limit is None else [limit]))
    for name, limits in columns:
        if limits and any(low >= high for low, high in itertools.pairwise(limits)):
            raise ValueError(f"expected ascending limits of {name}")
    return Path(match[1]), [(name, None if own is None else tuple(own)) for name, own in columns]


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", text, re.ASCII) else None


def check_strata(text: str) -> str:
    """`text` itself, if `parse_strata` takes it."""
    parse_strata(text)
    return text


def parse_column_values(text: str) -> tuple[str, str, tuple[str, ...]]:
    """`FILE.csv:COLUMN=VALUE[,VALUE]` to (file, column, values)."""
    match = re.fullmatch(r"(.+):([^:=]+)=(.+)", text, re.DOTALL)
    values = tuple(value.strip() for value in match[3].split(",")) if match else ()
    if not match or not all(values):
        raise ValueError("expected FILE.csv:COLUMN=VALUE[,VALUE], such as metadata.csv:view=PA")
    return match[1], match[2].strip(), values


def check_column_values(text: str) -> str:
    """`text` itself, if `parse_column_values` takes it."""
    parse_column_values(text)
    return text


def check_pattern(text: str) -> str:
    """`text` itself, if it is a regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression ({error})") from None
    return text


def parse_prevalence(text: str) -> tuple[float, ...]:
    """`0.1`, the share of the positive class of two, or `0.7,0.2,0.1`, that of each; to one per class."""
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        shares = ()
    if len(shares) == 1:
        shares = (1 - shares[0], shares[0])
    if not (shares and all(0 < share < 1 for share in shares) and abs(sum(shares) - 1) < 1e-3):
        raise ValueError(
            "expected the share of the positive class, such as 0.1, or of each class, such as "
            "0.7,0.2,0.1, each above 0 and together 1"
        )
    return tuple(share / sum(shares) for share in shares)


def check_prevalence(text: str) -> str:
    """`text` itself, if `parse_prevalence` takes it."""
    parse_prevalence(text)
    return text


ESTIMATED = "estimate"  # the prevalence that is estimated from the images themselves


def check_prevalence_or_estimate(text: str) -> str:
    """`text` itself, if it is `estimate` or `parse_prevalence` takes it."""
    try:
        return text if text == ESTIMATED else check_prevalence(text)
    except ValueError as error:
        raise ValueError(f"{error}; or {ESTIMATED}") from None


def parse_rates(text: str) -> tuple[float, ...]:
    """`0.9` or `0.8,0.9` to one number for each, in order and none twice."""
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        rates = ()
    if not rates or not all(0 < rate <= 1 for rate in rates) or len(set(rates)) < len(rates):
        raise ValueError(
            "expected rates above 0 and at most 1, each once, such as 0.9 or 0.8,0.9,0.95"
        )
    return rates


def check_rates(text: str) -> str:
    """`text` itself, if `parse_rates` takes it."""
    parse_rates(text)
    return text

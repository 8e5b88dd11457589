"""A column of a CSV file that describes images: view, age, site, or whatever was noted of them."""

import csv
import dataclasses
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from engine.base.config import UserError
from engine.base.files import one_line
from engine.base.setting_names import closest
from engine.base.wording import some_of

DELIMITERS = ",;\t"


def read_column(path: Path | str, column: str, keys: Iterable[str]) -> dict[str, str]:
    """What a CSV file says of each image in one column.

    The file has a header; fields are separated by commas, semicolons or tabs. The column that
    identifies the images is the one that names most of them. It holds paths or file names; of a path,
    the parts that both sides have must agree (`images/train/a.png` is `train/a.png`). Where
    no row has the file name, the name without its ending decides (metadata often names the original
    `.dcm` or `.png`).

    Args:
        keys: the images' paths, with slashes, as shards and `predictions.csv` hold them.

    Returns:
        Path -> value, without surrounding blanks, in the order of `keys`; images that no row
        describes are absent, and '' is the value of an empty field.

    Raises:
        UserError: the file cannot be read, has no such column, describes none of the images, describes
            one of them twice and differently, or a row's name stands for two of them.
    """
    path = Path(path)
    keys = list(keys)
    table = read_table(path, [column])
    found = table.rows_of(keys)
    return _values(path, [row[column] for row in table.rows], found)


@dataclasses.dataclass(frozen=True)
class Table:
    """A CSV file that describes images.

    Attributes:
        header: the names of the columns.
        rows: each as name -> value, without surrounding blanks.
    """

    path: Path
    header: list[str]
    rows: list[dict[str, str]]

    def rows_of(self, keys: Sequence[str]) -> dict[str, list[int]]:
        """Path -> the rows that describe it, by the column that names most images; see `read_column`.

        Raises:
            UserError: no row names any of the images, or a row's name stands for two of them.
        """
        found: dict[str, list[int]] = {}
        most = (0, 0)
        for name in self.header:
            matches, num_named = _matches([row[name] for row in self.rows], keys)
            # Whole names first: a column of row numbers may seem to name 1.png without its ending.
            if (num_named, len(matches)) > most:
                found, most = matches, (num_named, len(matches))
        if not found:
            raise UserError(
                f"{self.path}: no row names one of the {len(keys):,} images (for example "
                f"{some_of(keys[:1])}); expected a column of their paths or file names"
            )
        _require_one_image_per_row(self.path, found)
        return found


def read_table(path: Path, columns: Iterable[str]) -> Table:
    """A CSV file as `read_column` takes it, with at least these columns.

    Raises:
        UserError: the file cannot be read, or lacks one of the columns.
    """
    header, rows = _read(path)
    for column in columns:
        if column not in header:
            meant = closest(column, header)
            hint = f"; did you mean {meant}?" if meant else ""
            raise UserError(
                f"{path}: has no column {column!r}, only {', '.join(map(one_line, header))}{hint}"
            )
    return Table(path, header, rows)


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The names of the columns, and each row as name -> value."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); expected a CSV file that describes images"
        ) from error
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8; save it as CSV in UTF-8") from None
    first_line = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first_line.count)
    try:
        table = [
            row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row
        ]
    except csv.Error as error:
        raise UserError(f"{path}: no valid CSV ({error})") from error
    if len(table) < 2:
        raise UserError(f"{path}: holds no rows; expected a header and one row per image")
    header, *rows = ([field.strip() for field in row] for row in table)
    padding = [""] * len(header)
    return header, [dict(zip(header, [*row, *padding], strict=False)) for row in rows]


def _matches(fields: Sequence[str], keys: Sequence[str]) -> tuple[dict[str, list[int]], int]:
    """Path -> the rows that describe it, by what a column holds; and of how many paths a row has the
    whole file name."""
    parts = [tuple(field.replace("\\", "/").strip("/").split("/")) for field in fields]
    by_name: dict[str, list[int]] = defaultdict(list)
    by_stem: dict[str, list[int]] = defaultdict(list)
    for row, part in enumerate(parts):
        if part[-1]:
            by_name[part[-1]].append(row)
            by_stem[_stem(part[-1])].append(row)
    found, num_named = {}, 0
    for key in keys:
        *folders, name = key.split("/")
        candidates = by_name.get(name) or by_stem.get(_stem(name), [])
        if rows := [row for row in candidates if _ends_alike(folders, parts[row][:-1])]:
            # A row with the whole path is about this image; one with the name alone may be.
            longest = max(len(parts[row]) for row in rows)
            found[key] = [row for row in rows if len(parts[row]) == longest]
            num_named += name in by_name
    return found, num_named


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _ends_alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two folders agree in the last parts that both have."""
    return all(a == b for a, b in zip(reversed(one), reversed(other), strict=False))


def _values(
    path: Path, values: Sequence[str], found: Mapping[str, Sequence[int]]
) -> dict[str, str]:
    for key, rows in found.items():
        if len({values[row] for row in rows}) > 1:
            raise UserError(
                f"{path}: describes {one_line(key)} differently in {len(rows)} rows "
                f"({some_of(values[row] for row in rows)}); expected one row per image"
            )
    return {key: values[rows[0]] for key, rows in found.items()}


def _require_one_image_per_row(path: Path, found: Mapping[str, Sequence[int]]) -> None:
    owner: dict[int, str] = {}
    for key, rows in found.items():
        for row in rows:
            if (other := owner.setdefault(row, key)) != key:
                raise UserError(
                    f"{path}: one row stands for {one_line(other)} and {one_line(key)}; expected "
                    "paths instead of file names where two images have the same name"
                )

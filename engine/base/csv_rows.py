"""CSV that any reader parses as it was written, whatever characters a file name contains."""

import csv
from collections.abc import Sequence
from typing import IO, Any


class CsvRows:
    """Writes rows that end in a line feed; fields are quoted where they need it.

    `csv.writer` leaves a carriage return bare where lines end otherwise (before Python 3.13), and readers
    then begin a new row there.

    Args:
        file: opened with `newline=""`, as a reader must open it too.
    """

    def __init__(self, file: IO[str]) -> None:
        self._plain = csv.writer(file, lineterminator="\n")
        self._quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def writerow(self, row: Sequence[Any]) -> None:
        """Writes one row."""
        bare = any("\r" in field for field in row if isinstance(field, str))
        (self._quoted if bare else self._plain).writerow(row)

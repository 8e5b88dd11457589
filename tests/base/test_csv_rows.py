"""Rows come back from `csv.reader` as they were written."""

import csv
import io

from engine.base.csv_rows import CsvRows

ODD = ["a\rb", "a\nb", "a\r\nb", 'q"uo,te', "", " spaces ", "ünïcode", "\r"]


def test_odd_fields_come_back_as_they_were():
    file = io.StringIO(newline="")
    writer = CsvRows(file)
    rows = [[name, 0.5, 3] for name in ODD] + [ODD]
    for row in rows:
        writer.writerow(row)
    assert list(csv.reader(io.StringIO(file.getvalue(), newline=""))) == [
        [str(field) for field in row] for row in rows
    ]


def test_plain_rows_are_not_quoted():
    file = io.StringIO(newline="")
    CsvRows(file).writerow(["path", "a b", 0.5])
    assert file.getvalue() == "path,a b,0.5\n"

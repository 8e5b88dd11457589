import csv
import io

import pytest

from engine.training import history


def row(epoch, **values):
    zero = dict.fromkeys(history.HISTORY_FIELDS, 0.0)
    return {**zero, "epoch": epoch, **values}


def test_history_csv_holds_every_field_of_every_epoch():
    text = history.history_csv([row(1, loss=0.123456789), row(2, val_auroc=0.5)])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [r["epoch"] for r in rows] == ["1", "2"]
    assert float(rows[0]["loss"]) == pytest.approx(0.123457)
    assert tuple(rows[0]) == history.HISTORY_FIELDS


def test_what_an_earlier_version_did_not_measure_is_empty(tmp_path):
    earlier = {name: v for name, v in row(1).items() if name not in history.SAMPLE_FIELDS}
    rows = list(csv.DictReader(io.StringIO(history.history_csv([earlier, row(2)]))))
    assert [r["sample_loss"] for r in rows] == ["", "0"]
    logs = history.Logs(tmp_path / "history.csv", tmp_path / "tensorboard")
    logs.write([earlier])
    logs.close()


def test_an_epoch_line_fits_a_terminal():
    line = history.epoch_line(
        row(20, loss=0.5, val_auroc=0.99, images_per_second=12345.0), epochs=100, best=True
    )
    assert len(line) <= 100
    assert "AUROC 0.9900 *" in line


def test_logs_leave_a_history_and_a_tensorboard_file(tmp_path):
    logs = history.Logs(tmp_path / "history.csv", tmp_path / "tensorboard")
    logs.write([row(1)])
    logs.close()
    assert (tmp_path / "history.csv").read_text().count("\n") == 2
    assert list((tmp_path / "tensorboard").iterdir())

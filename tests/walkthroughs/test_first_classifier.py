"""Walk-through A runs from top to bottom, and leaves what each step of the script left."""

import csv

from engine.runs.run_directory import RunDirectory
from engine.shards import tfrecords


def test_the_page_leads_from_a_folder_to_predictions_at_two_thresholds(walk, capsys):
    there = walk("a-first-classifier.md")
    manifest = tfrecords.read_manifest(there / "data" / "walk-a")
    assert manifest.splits["validation"].num_examples > 0
    assert (there / "data" / "walk-a-preview.png").is_file()
    run = RunDirectory(there / "saved_models" / "walk-a")
    for path in (run.model, run.history_figure, run.report, run.threshold):
        assert path.is_file(), path
    printed = capsys.readouterr().out
    rows = list(csv.DictReader(line for line in printed.splitlines() if line.count(",") >= 2))
    assert sum("chest_xray/test" in str(row) for row in rows) == 24
    assert "at 0.5;" in printed.splitlines()[-1]

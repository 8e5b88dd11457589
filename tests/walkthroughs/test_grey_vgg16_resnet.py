"""Walk-through B runs from top to bottom: three networks on the same grey images, in one table."""

from engine.runs.run_directory import RunDirectory
from engine.shards import tfrecords


def test_the_page_trains_three_networks_compares_them_and_draws_filters(walk, capsys):
    there = walk("b-grey-vgg16-resnet.md")
    assert tfrecords.read_manifest(there / "data" / "walk-b").channels == 1
    runs = ("walk-b-cnn", "walk-b-vgg16", "walk-b-resnet")
    for name in runs:
        assert RunDirectory(there / "saved_models" / name).report.is_file()
    printed = capsys.readouterr().out
    assert all(name in printed for name in runs)
    assert list((there / "data" / "walk-b-filters").glob("*filters*"))

"""Walk-through E runs from top to bottom: a page about the images, and two networks in one table."""


def test_the_page_explores_the_images_and_compares_two_networks(walk, capsys):
    there = walk("e-baseline-resnet50v2.md")
    page = (there / "data" / "walk-e.html").read_text(encoding="utf-8")
    assert "NORMAL" in page and "PNEUMONIA" in page
    table = capsys.readouterr().out
    assert "walk-e-baseline" in table and "walk-e-resnet" in table

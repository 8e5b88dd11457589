"""Pages hold all that they show, run nothing, load nothing, and read no file outside their base."""

import base64
import os
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from engine.runs import html_page


class Elements(HTMLParser):
    """The elements of a page, its text, and whether every element is closed."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text, self.open = [], "", []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def page(markdown, base, **options):
    found = Elements(html_page.render(markdown, title="t", base=base, **options))
    assert found.open == []
    return found


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "base" / "a figure" / "roc 1.png"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (3, 2), (0, 114, 178)).save(path)
    return path


def test_pictures_are_inside_the_page(picture, tmp_path):
    (image,) = page("![ROC *1*](a%20figure/roc%201.png)", tmp_path / "base").all("img")
    kind, _, data = image["src"].partition(";base64,")
    assert kind == "data:image/png"
    assert base64.b64decode(data) == picture.read_bytes()
    assert image["alt"] == "ROC 1"


def test_figures_are_as_large_as_their_resolution_says(tmp_path):
    Image.new("L", (300, 200)).save(tmp_path / "a.png", dpi=(150, 150))
    Image.new("L", (300, 200)).save(tmp_path / "b.png")
    Image.new("L", (300, 200)).save(tmp_path / "c.jpg", dpi=(150, 150))
    shown = page("![a](a.png) ![b](b.png) ![c](c.jpg)", tmp_path).all("img")
    assert [image.get("width") for image in shown] == ["192", None, None]


@pytest.mark.parametrize(
    "source", ["../secret.png", "SECRET", "link.png", "a%20figure/../../secret.png", "loop.png"]
)
def test_only_pictures_below_the_base_are_read(picture, tmp_path, source):
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture.read_bytes())
    (tmp_path / "base" / "link.png").symlink_to(secret)
    (tmp_path / "base" / "loop.png").symlink_to("loop.png")
    shown = page(f"![x]({source.replace('SECRET', str(secret))})", tmp_path / "base")
    assert not shown.all("img")
    assert "is not shown" in shown.text or "is missing" in shown.text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("none.png", "none.png is missing"),
        ("a%20figure", "is not shown: expected one of .png"),
        ("notes.txt", "notes.txt is not shown: expected one of .png"),
        ("folder.png", "folder.png is missing"),
        ("x" * 300 + ".png", "is missing"),
        ("https://example.org/a.png", "is missing"),
    ],
)
def test_a_picture_that_cannot_be_shown_is_named(picture, tmp_path, source, said):
    base = tmp_path / "base"
    (base / "notes.txt").write_text("private")
    (base / "folder.png").mkdir()
    shown = page(f"before ![ROC](<{source}>) after", base)
    assert said in shown.text and "before ROC: " in shown.text and " after" in shown.text
    assert not shown.all("img") and "private" not in shown.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_picture_that_may_not_be_read_is_named(picture, tmp_path):
    picture.chmod(0)
    assert "Permission denied" in page("![a](a%20figure/roc%201.png)", tmp_path / "base").text


HOSTILE = [
    "<script>alert(1)</script>",
    "a <img src=x onerror=alert(1)> b",
    "[x](javascript:alert(1))",
    "![x](javascript:alert(1))",
    "<details><summary><script>alert(1)</script></summary>\n\nx\n\n</details>",
    "<javascript:alert(1)>",
    '[x](/a "onmouseover=alert(1)")',
    "| a |\n|---|\n| <iframe src=//evil> |",
    "</main></body>",
]


@pytest.mark.parametrize("markdown", HOSTILE)
def test_html_in_markdown_is_text(tmp_path, markdown):
    shown = page(markdown, tmp_path)
    names = {name for name, _ in shown.found}
    assert not names & {"script", "iframe", "img"}
    for _, attributes in shown.found:
        assert not any(name.startswith("on") for name in attributes)
        assert "javascript" not in (attributes.get("href") or "")


def test_nothing_is_loaded_and_the_page_says_so(picture, tmp_path):
    text = "# A\n\n[x](https://example.org)\n\n![a](a%20figure/roc%201.png)\n\n![b](//evil/x.png)"
    shown = page(text, tmp_path / "base")
    assert all(image["src"].startswith("data:") for image in shown.all("img"))
    assert {name for name, _ in shown.found}.isdisjoint({"link", "script", "iframe", "object"})
    policies = [meta for meta in shown.all("meta") if "http-equiv" in meta]
    assert "default-src 'none'" in policies[0]["content"]
    assert "url(" not in shown.text and "@import" not in shown.text


def test_titles_are_text(tmp_path):
    html = html_page.render("x", title="a </title><script>1</script>\n & b", base=tmp_path)
    assert "<title>a &lt;/title&gt;&lt;script&gt;1&lt;/script&gt; &amp; b</title>" in html


def test_tables_keep_their_alignment_and_scroll_by_themselves(tmp_path):
    shown = page("| a | b |\n| --- | ---: |\n| 1 | `2` |\n\nend", tmp_path)
    assert [cell.get("style") for cell in shown.all("td")] == [None, "text-align:right"]
    assert {"class": "table"} in shown.all("div")


def test_folded_parts_fold_and_unbalanced_ones_are_text(tmp_path):
    folded = "<details><summary>All & more</summary>\n\n| a |\n| --- |\n| 1 |\n\n</details>"
    shown = page(folded, tmp_path)
    assert len(shown.all("details")) == len(shown.all("summary")) == len(shown.all("table")) == 1
    assert "All & more" in shown.text
    for text in ("<details><summary>A</summary>\n\nx", "x\n\n</details>", "- </details>"):
        assert not page(text, tmp_path).all("details")


def test_headings_can_be_linked_to(tmp_path):
    shown = page("# A `b` c\n\n## Same!\n\n## Same\n\n## ?", tmp_path)
    names = [attributes["id"] for name, attributes in shown.found if re.fullmatch("h[1-6]", name)]
    assert names == ["a-b-c", "same", "same-1", "section"]


def test_links_lead_to_the_same_files_from_wherever_the_page_lies(tmp_path):
    text = "[a](x/a.csv) [b](#same) [c](https://example.org/c) [d](/d) [e](mailto:e@example.org)"
    there = [link["href"] for link in page(text, tmp_path, directory=tmp_path).all("a")]
    below = [link["href"] for link in page(text, tmp_path, directory=tmp_path / "out").all("a")]
    assert there == ["x/a.csv", "#same", "https://example.org/c", "/d", "mailto:e@example.org"]
    assert below == ["../x/a.csv", *there[1:]]


def test_equal_input_gives_equal_bytes_and_halves_of_characters_are_escaped(picture, tmp_path):
    text = "# \udc80 \ud800\n\n![a](a%20figure/roc%201.png)"
    for name in ("1.html", "2.html"):
        html_page.write(tmp_path / name, text, title="\udcff", base=tmp_path / "base")
    assert (tmp_path / "1.html").read_bytes() == (tmp_path / "2.html").read_bytes()
    assert b"\\udc80" in (tmp_path / "1.html").read_bytes()

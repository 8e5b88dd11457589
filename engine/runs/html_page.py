"""One self-contained HTML page from Markdown: figures inside it, no script, nothing loaded from anywhere.

The Markdown may hold names of files, classes and patients that nobody has looked at: HTML in it is shown as
text, only pictures from below one directory are read, and the page forbids scripts and any network by its own
content security policy. Of HTML, folded parts alone are known, as GitHub folds them: a paragraph
`<details><summary>TEXT</summary>`, and one `</details>`. Equal input gives equal bytes.
"""

import base64
import itertools
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from engine.base import files
from engine.runs import markdown
from engine.runs.html_style import STYLE

# Pictures that every browser shows. One in an `img` runs no script, an SVG included.
MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
}
_CSS_PIXELS_PER_METRE = 96 / 0.0254
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_FOLD = re.compile(r"<details><summary>([^<>]*)</summary>")
_FOLD_END = "</details>"
_ELSEWHERE = re.compile(
    r"[a-z][a-z0-9+.-]*:|//|#", re.IGNORECASE
)  # of a link: no file beside the page


def write(path: Path, markdown: str, *, title: str, base: Path) -> None:
    """Writes the page, whole or not at all.

    Args:
        path: the file to write.
        markdown: CommonMark with tables, its pictures and links relative to `base`. Links stay right
            wherever the page lies; pictures become a part of it.
        title: plain text, for the browser's tab; the page shows what is in `markdown`.
        base: the directory below which pictures are read. One that is missing, lies elsewhere or is no
            picture is named in its place.
    """
    path = Path(path)
    files.write_text(path, render(markdown, title=title, base=base, directory=path.parent))


def render(markdown: str, *, title: str, base: Path, directory: Path | None = None) -> str:
    """The page as `write` writes it into `directory`; None: into `base`."""
    base = Path(base)
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(_encodable(markdown))
    _fold(tokens)
    _name_headings(tokens)
    for token in tokens:
        if token.type == "inline":
            _embed_images(token, base)
            _move_links(token, base, base if directory is None else directory)
        elif token.type in ("table_open", "table_close"):
            _in_a_scrolled_box(token)
    body = parser.renderer.render(tokens, parser.options, {})
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(' '.join(_encodable(title).split()))}</title>\n"
        f"<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def _encodable(text: str) -> str:
    """Without the halves of characters that a file's name may hold, which no UTF-8 can tell."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _fold(tokens: list[Token]) -> None:
    """Makes a folded part of the paragraphs that open and close one; unbalanced ones stay text."""
    found = [(place, _fold_mark(tokens, place)) for place in range(len(tokens))]
    opened: list[tuple[int, str]] = []
    for place, mark in found:
        if mark is None:
            continue
        if mark != _FOLD_END:
            opened.append((place, mark))
        elif opened:
            start, summary = opened.pop()
            _replace_paragraph(tokens, start, f"<details>\n<summary>{escape(summary)}</summary>\n")
            _replace_paragraph(tokens, place, f"{_FOLD_END}\n")


def _fold_mark(tokens: list[Token], place: int) -> str | None:
    """The summary of a folded part that the paragraph opens, `_FOLD_END` if it closes one, else None."""
    if tokens[place].type != "paragraph_open" or tokens[place].level:
        return None
    content = tokens[place + 1].content
    opening = _FOLD.fullmatch(content)
    return opening[1] if opening else (_FOLD_END if content == _FOLD_END else None)


def _replace_paragraph(tokens: list[Token], place: int, html: str) -> None:
    tokens[place] = Token("html_block", "", 0, content=html)
    for part in tokens[place + 1 : place + 3]:
        part.type, part.content, part.children = "html_block", "", []


def _name_headings(tokens: list[Token]) -> None:
    """Gives each heading an `id` as GitHub does, so that links within the page work."""
    taken: dict[str, int] = {}
    for heading, inline in itertools.pairwise(tokens):
        if heading.type == "heading_open":
            text = "".join(child.content for child in inline.children or ())
            name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") or "section"
            taken[name] = taken.get(name, -1) + 1
            heading.attrs["id"] = f"{name}-{taken[name]}" if taken[name] else name


def _embed_images(inline: Token, base: Path) -> None:
    for child in inline.children or ():
        if child.type == "image":
            title = "".join(part.content for part in child.children or ()) or child.content
            child.content = _image(title, str(child.attrs.get("src", "")), base)
            child.type, child.children = "html_inline", []


def _image(title: str, source: str, base: Path) -> str:
    """The `img` of a picture, or words in its place."""
    name = unquote(source)
    try:
        data, media_type = _read_image(name, base)
    except ValueError as error:
        return f'<span class="missing">{escape(title)}: {escape(name)} {escape(str(error))}</span>'
    encoded = base64.b64encode(data).decode("ascii")
    width = _natural_width(data)
    size = "" if width is None else f' width="{width}"'
    return f'<img alt="{escape(title)}"{size} src="data:{media_type};base64,{encoded}">'


def _natural_width(data: bytes) -> int | None:
    """The width of a PNG in CSS pixels, 96 to an inch, if it says how many dots an inch has."""
    found = re.match(rb"\x89PNG\r\n\x1a\n.{4}IHDR(.{4})", data, re.DOTALL)
    place = data.find(b"pHYs", 0, data.find(b"IDAT"))
    if found is None or place < 0 or data[place + 12 : place + 13] != b"\x01":
        return None
    pixels = int.from_bytes(found[1], "big")
    per_metre = int.from_bytes(data[place + 4 : place + 8], "big")
    return round(pixels / per_metre * _CSS_PIXELS_PER_METRE) if per_metre else None


def _read_image(name: str, base: Path) -> tuple[bytes, str]:
    """The bytes of a picture and its media type; raises `ValueError` with the reason if there is none."""
    media_type = MEDIA_TYPES.get(Path(name).suffix.lower())
    try:
        found = (base / name).resolve()
        inside, is_file = found.is_relative_to(base.resolve()), found.is_file()
    except (OSError, RuntimeError, ValueError):  # too long a name, a circle of links, a zero byte
        raise ValueError("is missing") from None
    if not inside:
        raise ValueError("is not shown: it is not below the directory of this page's figures")
    if media_type is None:
        raise ValueError(f"is not shown: expected one of {', '.join(MEDIA_TYPES)}")
    if not is_file:
        raise ValueError("is missing")
    try:
        return found.read_bytes(), media_type
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error


def _move_links(inline: Token, base: Path, directory: Path) -> None:
    """Links relative to `base` become relative to the page's own directory."""
    for link in _links(inline):
        target = str(link.attrs.get("href", ""))
        if not _ELSEWHERE.match(target) and not target.startswith("/"):
            from_page = markdown.link(base, directory)
            if from_page != ".":
                link.attrs["href"] = f"{from_page}/{target}"


def _links(inline: Token) -> Iterator[Token]:
    return (child for child in inline.children or () if child.type == "link_open")


def _in_a_scrolled_box(token: Token) -> None:
    """A table wider than a phone is scrolled by itself, and not the page with it."""
    opens = token.type == "table_open"
    token.type, token.content = (
        "html_block",
        ('<div class="table"><table>\n' if opens else "</table></div>\n"),
    )

"""The pictures of an inspection's page: drawn into a directory, and the Markdown that shows them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from engine.images.image_folder import Example
from engine.inspection import pictures
from engine.inspection.sources import Source
from engine.runs import markdown


class PagePictures:
    """Numbers the pictures of one page.

    Args:
        directory: where they are drawn; the Markdown links them relative to it.
        source: where images come from.
    """

    def __init__(self, directory: Path, source: Source) -> None:
        self._directory, self._source = directory, source
        self._number = 0

    def figure(self, title: str, draw: Callable[[Path], None]) -> str:
        """A figure that `draw` writes as a PNG."""
        return self._shown(title, draw, ".png")

    def sheet(self, title: str, images: Sequence[Image.Image | None], *, columns: int) -> str:
        """Images side by side; see `pictures.contact_sheet`."""
        return self._shown(
            title, lambda path: pictures.contact_sheet(images, path, columns=columns), ".jpg"
        )

    def images_of(self, examples: Sequence[Example]) -> list[Image.Image | None]:
        """Each image, no larger than it is shown; None where it is gone."""
        return [self._source.picture(example.path, pictures.CELL) for example in examples]

    def _shown(self, title: str, draw: Callable[[Path], None], suffix: str) -> str:
        self._number += 1
        path = self._directory / f"{self._number:03d}{suffix}"
        draw(path)
        return markdown.image(markdown.text(title), path, self._directory)

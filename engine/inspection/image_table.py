"""All images of a set, measured: one row per image that can be read."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from engine.images.image_folder import EXTERNAL, TEST, TRAIN, VALIDATION, Example
from engine.inspection.file_header import FileHeader
from engine.inspection.measurement import PIXEL_MEASURES, THUMBNAIL, Measurement
from engine.inspection.perceptual_hash import HASH_BYTES

SPLIT_ORDER = ("", TRAIN, VALIDATION, TEST, EXTERNAL)

# Name -> what it is, of measures that the file gives and resizing mostly removes.
FILE_MEASURES = {
    "width": "pixels, the image upright",
    "height": "pixels, the image upright",
    "aspect ratio": "width over height",
    "file size": "bytes",
    "bytes per pixel": "file size over width times height",
    "JPEG quality": "estimated from the quantization table",
}
MEASURES = {**FILE_MEASURES, **PIXEL_MEASURES}
_OF_DICOM = ("modality", "view", "manufacturer", "model")  # names in `description.COLUMNS`
CATEGORIES = ("format", "mode", "EXIF orientation", "progressive", "animated", *_OF_DICOM)


@dataclasses.dataclass(frozen=True)
class ImageTable:
    """N images. Columns are computed once, and shared by all who read them: nobody writes into them.

    Attributes:
        examples: path, class, split and patient of each.
        class_names: also of classes without an image.
        headers: of each file; None of shards, and of a file that Pillow does not read.
        measures: name among `MEASURES` -> float64[N], NaN where it is not known.
        hashes: uint8[N, 32]; `is_blank`: bool[N], those whose hash means nothing.
        keys: equal for images of equal contents.
        mean_images: class -> float[64, 64], grey, the mean of its images.
        doubts: (path, what may have been misread).
    """

    examples: tuple[Example, ...]
    class_names: tuple[str, ...]
    headers: tuple[FileHeader | None, ...]
    measures: dict[str, np.ndarray]
    hashes: np.ndarray
    is_blank: np.ndarray
    keys: tuple[str, ...]
    mean_images: dict[str, np.ndarray]
    doubts: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def has_files(self) -> bool:
        """Whether anything is known of the image files themselves."""
        return any(header is not None for header in self.headers)

    @functools.cached_property
    def splits(self) -> tuple[str, ...]:
        """Those that hold images, '' where the set is not divided."""
        present = {example.split for example in self.examples}
        return tuple(split for split in SPLIT_ORDER if split in present)

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """int64[N], the place of each image's class in `class_names`."""
        places = {name: place for place, name in enumerate(self.class_names)}
        return np.array([places[example.class_name] for example in self.examples], np.int64)

    @functools.cached_property
    def split_labels(self) -> np.ndarray:
        """int64[N], the place of each image's split in `splits`."""
        places = {name: place for place, name in enumerate(self.splits)}
        return np.array([places[example.split] for example in self.examples], np.int64)

    @functools.cached_property
    def groups(self) -> np.ndarray:
        """int64[N], the patient of each image, counted from 0; an image without one is a group of its own."""
        places: dict[str, int] = {}
        keys = [f"p{one.patient}" if one.patient else f"i{one.path}" for one in self.examples]
        return np.array([places.setdefault(key, len(places)) for key in keys], np.int64)

    def categories(self, name: str) -> list[str]:
        """The value of each image of one of `CATEGORIES`; '' where it is not known."""
        return ["" if header is None else _category(header, name) for header in self.headers]


def _category(header: FileHeader, name: str) -> str:
    if name in _OF_DICOM:
        return header.dicom.values[name] if header.dicom else ""
    if name == "format":
        return header.file_format
    if name == "mode":
        return header.mode
    if name == "EXIF orientation":
        return str(header.orientation)
    if name == "progressive":
        return "progressive" if header.is_progressive else "not progressive"
    return "animated" if header.is_animated else "not animated"


class TableBuilder:
    """Takes in measurements one by one, and keeps no image."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = tuple(class_names)
        self._rows: list[tuple[Example, Measurement, str]] = []
        self._sums = {name: np.zeros((THUMBNAIL, THUMBNAIL)) for name in class_names}

    def add(self, example: Example, measured: Measurement, *, key: str) -> None:
        """One image; `key` as in `ImageTable.keys`."""
        self._sums[example.class_name] += measured.thumbnail
        # The thumbnails of 100,000 images would take 400 MB.
        slim = dataclasses.replace(measured, thumbnail=np.empty(0, np.uint8))
        self._rows.append((example, slim, key))

    def build(self) -> ImageTable:
        """The table of all that was added."""
        examples = tuple(example for example, _, _ in self._rows)
        found = [measured for _, measured, _ in self._rows]
        headers = tuple(measured.header for measured in found)
        values = np.array([measured.values for measured in found], np.float64)
        pixel = dict(zip(PIXEL_MEASURES, values.reshape(-1, len(PIXEL_MEASURES)).T, strict=True))
        return ImageTable(
            examples=examples,
            class_names=self._class_names,
            headers=headers,
            measures={**_file_measures(found), **pixel},
            hashes=np.array([one.bits for one in found], np.uint8).reshape(-1, HASH_BYTES),
            is_blank=np.array([one.is_blank for one in found], bool),
            keys=tuple(key for _, _, key in self._rows),
            mean_images=self._means(examples),
            doubts=tuple(
                (example.path, doubt)
                for example, measured, _ in self._rows
                for doubt in measured.doubts
            ),
        )

    def _means(self, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        counts = dict.fromkeys(self._class_names, 0)
        for example in examples:
            counts[example.class_name] += 1
        return {name: self._sums[name] / count for name, count in counts.items() if count}


def _file_measures(found: Sequence[Measurement]) -> dict[str, np.ndarray]:
    """float64[N] of each of `FILE_MEASURES`."""
    nan = float("nan")
    rows = [
        (nan, nan, nan, nan)
        if one.header is None
        else (
            one.header.width,
            one.header.height,
            nan if one.file_bytes is None else one.file_bytes,
            one.header.jpeg_quality or nan,
        )
        for one in found
    ]
    width, height, size, quality = np.array(rows, np.float64).reshape(-1, 4).T
    columns = (width, height, width / height, size, size / (width * height), quality)
    return dict(zip(FILE_MEASURES, columns, strict=True))

"""What the header of an image file says: format, mode, size, and how its pixels are stored.

None of it is medical, and most of it is lost when images are resized; what in it separates the classes
shows that they come from different places.
"""

import dataclasses
import io
import re

from PIL import Image

from engine.images import bit_depth, geometry, pillow_formats
from engine.images.dicom import description, recognition
from engine.images.dicom.description import Description
from engine.inspection.jpeg_quality import estimated_quality

_FORMATS = {"MPO": "JPEG", "PPM": "PNM"}  # a JPEG with previews; Pillow's name for the whole family
_MODES = {
    "1": "1-bit",
    "L": "grey",
    "LA": "grey, alpha",
    "P": "palette",
    "PA": "palette",
    "RGB": "colour",
    "RGBA": "colour, alpha",
    "CMYK": "CMYK",
    "YCbCr": "colour",
    "F": "floating-point grey",
    "I": "32-bit grey",
}


@dataclasses.dataclass(frozen=True)
class FileHeader:
    """One file, without its pixels.

    Attributes:
        file_format: `JPEG`, `PNG`, ...; `unknown` where Pillow does not read it.
        mode: `grey`, `colour`, `16-bit grey`, `CMYK`, ... as the file stores its pixels.
        width, height: pixels, the image upright.
        orientation: EXIF's, 1 to 8; 1 is upright.
        is_animated: whether it holds several frames, of which the first is read.
        jpeg_quality: 1 to 100, estimated; None of other formats.
        is_progressive: of JPEG, whether it is stored coarse to fine.
        dicom: what the header of a DICOM file says besides.
    """

    file_format: str
    mode: str
    width: int
    height: int
    orientation: int = 1
    is_animated: bool = False
    jpeg_quality: int | None = None
    is_progressive: bool = False
    dicom: Description | None = None

    @property
    def is_grey(self) -> bool:
        """Whether all of it that is stored is grey."""
        return self.mode.endswith("grey") or "MONOCHROME" in self.mode


def read_header(data: bytes, *, max_pixels: int) -> FileHeader | None:
    """The header of a whole file; None where neither Pillow nor pydicom reads it as an image.

    Whether the pixels can be read is for `engine.images.decoding` to say.
    """
    if recognition.is_dicom(data[: recognition.START_BYTES]):
        return _of_dicom(data, max_pixels)
    pillow_formats.lift_pillow_limit(max_pixels)
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", *pillow_formats.FORMATS)) as image:
            return _described(image)
    except Exception:  # Pillow raises anything at all on damaged files
        return None


def _of_dicom(data: bytes, max_pixels: int) -> FileHeader | None:
    described = description.describe(data, max_pixels)
    if described is None:
        return None
    values = described.values
    try:
        width, height = int(values["columns"]), int(values["rows"])
    except ValueError:  # of a damaged file
        return None
    mode = f"{values['bits']}-bit {values['photometric']}"
    return FileHeader("DICOM", mode, width, height, dicom=described)


def _described(image: Image.Image) -> FileHeader:
    orientation = geometry.known_orientation(image)
    width, height = image.size if orientation < 5 else image.size[::-1]
    tables = getattr(image, "quantization", None)
    return FileHeader(
        file_format=_FORMATS.get(image.format or "unknown", image.format or "unknown"),
        mode=_mode(image),
        width=width,
        height=height,
        orientation=orientation,
        is_animated=bool(getattr(image, "is_animated", False)),
        jpeg_quality=estimated_quality(tables[min(tables)]) if tables else None,
        is_progressive=bool(image.info.get("progressive")),
    )


def _mode(image: Image.Image) -> str:
    if bit_depth.is_deep_grey(image):
        return "12-bit grey" if bit_depth.stated_bits(image) == 12 else "16-bit grey"
    if bit_depth.is_deep_colour(image):
        return "16-bit colour"
    return _MODES.get(image.mode, re.sub(r"\W+", " ", image.mode).strip())

"""Stored grey values to 8 bits, as a viewer shows them: modality LUT, VOI LUT or window, inversion.

In the order of PS3.3 C.11 and PS3.4 N.2. What each stored value becomes is computed once, as a table.

    modality    Modality LUT Sequence, or Rescale Slope and Intercept
    contrast    the first item of VOI LUT Sequence; else the first window, by VOI LUT Function;
                else the whole range of the stored bits or, where an image of more than 8 bits would use
                less than an eighth of the grey levels, its own lowest to its highest value
    inversion   MONOCHROME1: the lowest value is white
    padding     Pixel Padding Value, and the range to Pixel Padding Range Limit, is black
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.images import bit_depth
from engine.images.dicom import frames
from engine.images.dicom.header import DicomFile
from engine.images.source_file import DecodeError

BLOCK_PIXELS = 1 << 20  # looked up at once, so that indices of 8 bytes take little memory

STRETCHED = (
    "without a window and of few of its possible values, stretched from its lowest to its highest"
)
NO_WINDOW = "with a window that has no width, which is ignored"


def to_eight_bits(values: np.ndarray, file: DicomFile, warn: Callable[[str], None]) -> np.ndarray:
    """Grey levels of integers[H, W], as `frames.first_frame` gives them.

    Args:
        warn: see `engine.images.decoding.decode_bytes`.

    Returns:
        uint8[H, W].

    Raises:
        DecodeError: the file asks for a VOI LUT Function that is not known, or has a damaged LUT.
    """
    bits, signed = frames.stored_bits(file), frames.is_signed(file)
    lowest = -(1 << bits - 1) if signed else 0
    stated = np.arange(lowest, lowest + (1 << bits))
    # Lossy compression may leave the stated range; such values are shown as its ends.
    padding = _is_padding(stated, file)
    measured = _modality(stated, file)
    shown = _contrast(measured, file, warn)
    if shown is None:
        shown = _spread(measured, measured)
        if bits > 8:
            used = _used(values, stated) & ~padding
            if used.any() and np.ptp(shown[used]) * 255 < bit_depth.NARROW_SPAN:
                shown = _spread(measured, measured[used])
                warn(STRETCHED)
    table = np.floor(255 * shown + 0.5).astype(np.uint8)
    if frames.photometric(file) == "MONOCHROME1":
        table = 255 - table
    table[padding] = 0
    return _looked_up(values, table, lowest)


def _modality(stored: np.ndarray, file: DicomFile) -> np.ndarray:
    """Stored values in the units of the modality, such as Hounsfield units."""
    table = file.get("ModalityLUTSequence")
    if table is not None:
        return _lookup(table[0], stored)[0]
    slope, intercept = file.numbers("RescaleSlope"), file.numbers("RescaleIntercept")
    if not slope or not slope[0]:
        return stored
    return stored * slope[0] + (intercept[0] if intercept else 0.0)


def _contrast(
    measured: np.ndarray, file: DicomFile, warn: Callable[[str], None]
) -> np.ndarray | None:
    """What is shown, 0 to 1, by the file's VOI LUT or window; None where it has neither."""
    table = file.get("VOILUTSequence")
    if table is not None:
        found, highest = _lookup(table[0], measured)
        return found / highest
    centers, widths = file.numbers("WindowCenter"), file.numbers("WindowWidth")
    if not centers or not widths:
        return None
    function = str(file.get("VOILUTFunction") or "LINEAR").strip().upper()
    if widths[0] <= 0 or (function == "LINEAR" and widths[0] < 1):
        warn(NO_WINDOW)
        return None
    return _windowed(measured, centers[0], widths[0], function)


def _windowed(measured: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1 and C.11.2.1.3, as a share of the output range."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (measured - center) / width, -500, 500)))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    elif function != "LINEAR_EXACT":
        raise DecodeError(
            f"VOI LUT Function {function!r}; expected LINEAR, LINEAR_EXACT or SIGMOID"
        )
    if not width:
        return (measured > center).astype(np.float64)
    return np.clip((measured - center) / width + 0.5, 0.0, 1.0)


def _lookup(item: Any, values: np.ndarray) -> tuple[np.ndarray, int]:
    """What a LUT gives for each value, and the largest that its entries can have (PS3.3 C.11.1.1)."""
    try:
        entries, first, bits = (int(number) for number in item.LUTDescriptor)
        data = item.LUTData
        entries = entries or 1 << 16
        if isinstance(data, (bytes, bytearray)):
            table = np.frombuffer(data, np.uint8 if len(data) < 2 * entries else "<u2")
        else:
            table = np.asarray(data).astype(np.uint16)
    except (AttributeError, TypeError, ValueError) as error:
        raise DecodeError("damaged DICOM file: a look-up table without its values") from error
    if not 1 <= bits <= 16 or len(table) < entries:
        raise DecodeError(
            f"damaged DICOM file: a look-up table of {len(table)} values of {bits} bits, "
            f"expected {entries} of 1 to 16"
        )
    if first >= 1 << 15 and first > values.max():
        # A negative number: implicit files do not say so, and Pixel Representation, by which pydicom
        # tells, is that of the stored values.
        first -= 1 << 16
    places = np.clip(np.floor(values + 0.5).astype(np.int64) - first, 0, entries - 1)
    table = table[:entries]
    highest = max((1 << bits) - 1, int(table.max()))
    return table[places].astype(np.int64), highest


def _is_padding(stored: np.ndarray, file: DicomFile) -> np.ndarray:
    """bool[values]: which stored values stand for no measurement (PS3.3 C.7.5.1.1.2)."""
    first, last = file.numbers("PixelPaddingValue"), file.numbers("PixelPaddingRangeLimit")
    if not first:
        return np.zeros(len(stored), bool)
    ends = sorted((first[0], last[0] if last else first[0]))
    return (stored >= ends[0]) & (stored <= ends[1])


def _spread(measured: np.ndarray, over: np.ndarray) -> np.ndarray:
    """Values as a share of the range of others."""
    low, high = float(over.min()), float(over.max())
    return np.clip((measured - low) / ((high - low) or 1.0), 0.0, 1.0)


def _used(values: np.ndarray, stated: np.ndarray) -> np.ndarray:
    """bool[values]: which of the stated values an image has."""
    found: np.ndarray = np.zeros(len(stated), bool)
    for block in _blocks(values):
        found[_places(block, len(stated), int(stated[0]))] = True
    return found


def _looked_up(values: np.ndarray, table: np.ndarray, lowest: int) -> np.ndarray:
    shown = np.empty(values.shape, np.uint8)
    for block, target in zip(_blocks(values), _blocks(shown), strict=True):
        table.take(_places(block, len(table), lowest), out=target)
    return shown


def _places(values: np.ndarray, count: int, lowest: int) -> np.ndarray:
    """int64: which entry of a table of stored values each value has; the nearest outside of it."""
    return np.clip(values.astype(np.int64) - lowest, 0, count - 1)


def _blocks(array: np.ndarray) -> list[np.ndarray]:
    """Views of some rows each."""
    rows = max(1, BLOCK_PIXELS // array.shape[1])
    return [array[start : start + rows] for start in range(0, len(array), rows)]

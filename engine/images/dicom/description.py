"""What the header of a DICOM file says of its image and its patient, for splits and strata.

Patients are kept together by a pseudonym: the first 16 digits of a SHA-256 over the Patient ID, or of the
study's UID where the ID is empty. The ID itself, the name and all dates are left in the file. A pseudonym
is the same in every build, so that two of them can be compared; whoever holds a list of IDs can find out
which of them it stands for.
"""

import dataclasses
import datetime
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from engine.base.files import one_line
from engine.base.wording import counted, some_of
from engine.images.dicom import frames, header
from engine.images.dicom.header import DicomFile
from engine.images.source_file import DecodeError

LONGEST_VALUE = 64  # characters
PSEUDONYM_DIGITS = 16
_DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}


@dataclasses.dataclass(frozen=True)
class Description:
    """One image.

    Attributes:
        patient, study: their pseudonyms; '' where the file does not name them.
        has_burned_in_text: whether the file says that text is burned into its pixels.
        values: by the names in `COLUMNS`; '' where the file does not say.
    """

    patient: str
    study: str
    has_burned_in_text: bool
    values: dict[str, str]


def describe(data: bytes, max_pixels: int) -> Description | None:
    """Describes the image of a DICOM file; None of a file that cannot be read, or holds no image."""
    try:
        file = header.read(data, max_pixels)
    except DecodeError:
        return None
    return Description(
        patient=_pseudonym("patient", _identifier(file, "PatientID")),
        study=_pseudonym("study", _identifier(file, "StudyInstanceUID")),
        has_burned_in_text=_safely(_keyword("BurnedInAnnotation"), file) == "YES",
        values={name: _safely(read, file) for name, read in _READERS.items()},
    )


def groups(descriptions: Mapping[str, Description]) -> dict[str, str]:
    """Path -> the group that is kept together: the patient, or else the one that another file of the same
    study names, or else the study; '' where there is none of them."""
    patients = {one.study: one.patient for one in descriptions.values() if one.patient}
    return {
        path: one.patient or (patients.get(one.study, one.study) if one.study else "")
        for path, one in descriptions.items()
    }


def rows(descriptions: Mapping[str, Description]) -> list[tuple[str, ...]]:
    """A table of all images, by path, with a header row."""
    kept_together = groups(descriptions)
    return [
        ("path", "patient", *COLUMNS),
        *(
            (path, kept_together[path], *(descriptions[path].values[name] for name in COLUMNS))
            for path in sorted(descriptions)
        ),
    ]


def warnings(descriptions: Mapping[str, Description], *, group_by: str) -> list[str]:
    """What of all descriptions the user should check."""
    found = []
    nameless = [path for path, one in descriptions.items() if not one.patient]
    by_patient = group_by == "patient"
    if nameless and by_patient:
        found.append(
            f"{counted(len(nameless), 'DICOM file')} without a Patient ID ({some_of(nameless)}): those of "
            "one study are kept together, but a patient of several studies may be in two splits"
        )
    patients = {one.patient for one in descriptions.values() if one.patient}
    if len(patients) == 1 and len(descriptions) - len(nameless) > 1 and by_patient:
        found.append(
            "all DICOM files have the same Patient ID, as some anonymizers leave it, and are one group; "
            "--group-by none or a regular expression divides them"
        )
    burned = [path for path, one in descriptions.items() if one.has_burned_in_text]
    if burned:
        found.append(
            f"{counted(len(burned), 'DICOM file')} with text burned into the image "
            f"({some_of(burned)}), which may name patients or give the class away"
        )
    return found


def _identifier(file: DicomFile, keyword: str) -> str:
    try:
        return _text(file.get(keyword))
    except Exception:  # as in `_safely`
        return ""


def _pseudonym(kind: str, identifier: str) -> str:
    if not identifier:
        return ""
    digest = hashlib.sha256(f"{kind}\0{identifier}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:PSEUDONYM_DIGITS]


def _safely(read: Callable[[DicomFile], str], file: DicomFile) -> str:
    """A value as one short line; '' where the attribute is damaged."""
    try:
        return one_line(read(file))[:LONGEST_VALUE].strip()
    except Exception:  # pydicom converts values when they are asked for, and raises anything
        return ""


def _text(value: Any) -> str:
    """An attribute as text; of several values the first."""
    if value is None:
        return ""
    several = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    return str(next(iter(several), "")).strip(" \0")


def _keyword(keyword: str) -> Callable[[DicomFile], str]:
    return lambda file: _text(file.get(keyword))


def _view(file: DicomFile) -> str:
    """View Position (`PA`, `AP`, `LL`, ...), or else the meaning of the view's code."""
    return _text(file.get("ViewPosition")) or _text(file.get("ViewCodeSequence")[0].CodeMeaning)


def _laterality(file: DicomFile) -> str:
    return _text(file.get("ImageLaterality")) or _text(file.get("Laterality"))


def _age(file: DicomFile) -> str:
    """Years: Patient's Age, or the time from birth to study."""
    age = _text(file.get("PatientAge"))
    if age[:-1].isdigit() and age[-1] in _DAYS:
        years = int(age[:-1]) * _DAYS[age[-1]] / _DAYS["Y"]
        return f"{years:.4g}"
    birth, study = (
        datetime.datetime.strptime(_text(file.get(name)), "%Y%m%d")
        for name in ("PatientBirthDate", "StudyDate")
    )
    days = (study - birth).days
    return str(math.floor(days / _DAYS["Y"])) if days >= 0 else ""


def _spacing(file: DicomFile) -> str:
    """Millimetres from row to row."""
    numbers = file.numbers("PixelSpacing") or file.numbers("ImagerPixelSpacing")
    return f"{numbers[0]:.4g}" if numbers else ""


def _contrast(file: DicomFile) -> str:
    if file.get("VOILUTSequence") is not None:
        return "lut"
    return "window" if file.numbers("WindowWidth") else "range"


_READERS: dict[str, Callable[[DicomFile], str]] = {
    "modality": _keyword("Modality"),
    "view": _view,
    "laterality": _laterality,
    "body_part": _keyword("BodyPartExamined"),
    "age": _age,
    "sex": _keyword("PatientSex"),
    "manufacturer": _keyword("Manufacturer"),
    "model": _keyword("ManufacturerModelName"),
    "photometric": frames.photometric,
    "contrast": _contrast,
    "bits": lambda file: str(frames.stored_bits(file)),
    "rows": lambda file: str(file.whole("Rows")),
    "columns": lambda file: str(file.whole("Columns")),
    "spacing_mm": _spacing,
    "compression": lambda file: file.transfer_syntax.name,
}
COLUMNS = tuple(_READERS)

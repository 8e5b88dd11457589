"""What headers say of patients and images."""

import dicom_files
import numpy as np
import pytest

from engine.images.dicom import description

PIXELS = np.zeros((8, 6), np.uint8)


def describe(**attributes) -> description.Description:
    found = description.describe(dicom_files.encoded(PIXELS, **attributes), 10**6)
    assert found is not None
    return found


def test_attributes_become_columns():
    found = describe(
        Modality="DX",
        ViewPosition="PA",
        ImageLaterality="L",
        BodyPartExamined="CHEST",
        PatientAge="045Y",
        PatientSex="F",
        Manufacturer="Ä\nB",
        PixelSpacing=[0.143, 0.143],
        WindowCenter=1,
        WindowWidth=9,
    )
    wanted = {
        "modality": "DX",
        "view": "PA",
        "laterality": "L",
        "body_part": "CHEST",
        "age": "45",
        "sex": "F",
        "photometric": "MONOCHROME2",
        "contrast": "window",
        "bits": "8",
        "rows": "8",
        "columns": "6",
        "spacing_mm": "0.143",
        "compression": "Explicit VR Little Endian",
    }
    assert {name: found.values[name] for name in wanted} == wanted
    assert set(found.values) == set(description.COLUMNS)
    assert "\n" not in found.values["manufacturer"]


@pytest.mark.parametrize(
    ("attributes", "age"),
    [
        ({"PatientAge": "006M"}, "0.5"),
        ({"PatientAge": "010D"}, "0.02738"),
        ({"PatientAge": "045"}, ""),
        ({"PatientAge": "Y"}, ""),
        ({"PatientBirthDate": "19800601", "StudyDate": "20200531"}, "39"),
        ({"PatientBirthDate": "19800601", "StudyDate": "20200602"}, "40"),
        ({"PatientBirthDate": "20300601", "StudyDate": "20200602"}, ""),
        ({"PatientBirthDate": "", "StudyDate": "20200602"}, ""),
        ({}, ""),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR AS")
def test_ages_are_in_years(attributes, age):
    assert describe(**attributes).values["age"] == age


def test_a_view_may_be_given_by_a_code():
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeMeaning = "postero-anterior"
    assert describe(ViewCodeSequence=[code]).values["view"] == "postero-anterior"


def test_no_identifier_is_kept():
    secrets = {
        "PatientID": "MRN-4711",
        "PatientName": "Doe^Jane",
        "PatientBirthDate": "19800601",
        "StudyDate": "20200531",
        "StudyInstanceUID": "1.2.3.4711",
        "AccessionNumber": "A4711",
    }
    found = describe(**secrets)
    text = str(found) + str(description.rows({"a.dcm": found}))
    assert not any(secret in text for secret in secrets.values())
    assert len(found.patient) == description.PSEUDONYM_DIGITS


def test_a_patient_has_one_pseudonym_and_two_have_two():
    one, same, other = (describe(PatientID=name).patient for name in ("17", " 17 ", "71"))
    assert one == same != other


def test_files_without_a_patient_are_grouped_by_study():
    """And with the patient that another file of the study names."""
    found = description.groups(
        {
            "a": describe(PatientID="17", StudyInstanceUID="1.1"),
            "b": describe(PatientID="", StudyInstanceUID="1.1"),
            "c": describe(PatientID="", StudyInstanceUID="1.2"),
            "d": describe(StudyInstanceUID="1.2"),
            "e": describe(),
        }
    )
    assert found["a"] == found["b"] != found["c"] == found["d"] != ""
    assert found["e"] == ""


def test_warnings_of_identifiers_and_of_burned_in_text():
    found = {
        "a": describe(PatientID="anonymous", StudyInstanceUID="1.1"),
        "b": describe(PatientID="anonymous", StudyInstanceUID="1.2", BurnedInAnnotation="YES"),
        "c": describe(StudyInstanceUID="1.3"),
    }
    nameless, same, burned = description.warnings(found, group_by="patient")
    assert "1 DICOM file without a Patient ID (c)" in nameless
    assert "same Patient ID" in same
    assert "1 DICOM file with text burned into the image (b)" in burned
    assert description.warnings(found, group_by="none") == [burned]


def test_damaged_values_are_left_empty():
    data = dicom_files.encoded(PIXELS, PatientAge="045Y", PixelSpacing=[0.5, 0.5])
    data = data.replace(b"0.5\\0.5", b"0.x\\0.5").replace(b"045Y", b"0\xff\xfe\x00")
    found = description.describe(data, 10**6)
    assert found is not None and found.values["age"] == found.values["spacing_mm"] == ""


def test_files_without_an_image_are_not_described():
    assert description.describe(bytes(128) + b"DICM" + bytes(99), 10**6) is None

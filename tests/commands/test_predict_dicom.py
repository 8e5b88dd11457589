"""`engine.predict` and `engine.explain` see a DICOM file as the PNG of the same pixels."""

import json
from pathlib import Path

import dicom_files
import fake_run
import numpy as np
import pytest
from PIL import Image
from pydicom import uid

from engine import explain, predict

BITS = 12


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return str(fake_run.make_run(tmp_path_factory.mktemp("run"), threshold=0.6, bits=BITS))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """Folders of PNG and of DICOM files with the same 12-bit pixels, not of the run's size."""
    png, dicom = (tmp_path_factory.mktemp(kind) for kind in ("png", "dicom"))
    rng = np.random.default_rng(0)
    syntaxes = (uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless)
    for number, syntax in enumerate(syntaxes * 2):
        level = 500 + 600 * number
        pixels = rng.integers(level - 500, level + 500, (60, 80)).astype(np.uint16)
        Image.fromarray(pixels).save(png / f"{number}.png")
        shown, kind = (4095 - pixels, "MONOCHROME1") if number % 2 else (pixels, "MONOCHROME2")
        data = dicom_files.encoded(shown, bits=BITS, syntax=syntax, photometric=kind)
        (dicom / f"IM{number:04}").write_bytes(data)
    return png, dicom


def predicted(run: str, folder: Path, capsys) -> list[dict]:
    assert predict.main([run, str(folder), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_predictions_equal_those_of_png(run, folders, capsys):
    png, dicom = (predicted(run, folder, capsys) for folder in folders)
    assert [Path(one["path"]).name for one in dicom] == [f"IM{n:04}" for n in range(6)]
    for one, other in zip(png, dicom, strict=True):
        assert {**one, "path": ""} == {**other, "path": ""}
    assert len({one["predicted"] for one in png}) == 2


def test_files_without_an_image_are_named(run, folders, tmp_path, capsys):
    good = next(folders[1].iterdir()).read_bytes()
    (tmp_path / "good").write_bytes(good)
    (tmp_path / "cut").write_bytes(good[:-400])
    assert predict.main([run, str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{tmp_path}/good\t")
    assert f"{tmp_path}/cut: truncated DICOM file" in captured.err


def test_without_pydicom_the_line_says_how_to_install_it(run, folders, monkeypatch, capsys):
    monkeypatch.setattr("engine.images.dicom.recognition.is_readable", lambda: False)
    assert predict.main([run, str(folders[1])]) == 2
    err = capsys.readouterr().err
    assert err.count("pip install -e '.[dicom]'") == 6
    assert "none of the paths holds an image that can be read" in err


def test_dicom_files_are_explained(run, folders, tmp_path):
    assert explain.main([run, str(folders[1] / "IM0000"), "--output", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("*.png"))) == 1

import pickle

import numpy as np
import pytest
import torch_files

from engine.networks.pretrained import torch_file
from engine.networks.pretrained.torch_file import FormatError


def test_tensors_come_back_by_name_shape_and_type_whatever_their_strides(tmp_path):
    arrays = torch_files.some_arrays()
    found = torch_file.read(torch_files.write(tmp_path / "weights.pth", arrays))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_nothing_that_a_file_names_is_called(tmp_path):
    marker = tmp_path / "called"
    arrays = torch_files.some_arrays()
    for name in (b"cos\nsystem\n", b"cbuiltins\neval\n", b"ctorch\nload\n"):
        path = torch_files.write(tmp_path / "weights.pth", arrays, function=name)
        with pytest.raises(FormatError, match="it names"):
            torch_file.read(path)
    command = b"cos\nsystem\n(X" + len(str(marker) + "touch ").to_bytes(4, "little")
    path.write_bytes(b"\x80\x02" + command + f"touch {marker}".encode() + b"tR.")
    with pytest.raises(FormatError, match=r"it names (os|posix)\.system"):
        torch_file.read(path)
    assert not marker.exists()


@pytest.mark.parametrize("truncate", [1, 20, 150, 400])
def test_a_file_that_ends_early_is_one_line(tmp_path, truncate):
    path = torch_files.write(tmp_path / "w.pth", torch_files.some_arrays(), truncate=truncate)
    with pytest.raises(FormatError) as error:
        torch_file.read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(100), pickle.dumps({"a": 1}) * 5])
def test_other_formats_are_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(FormatError):
        torch_file.read(path)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    path = torch_files.write(tmp_path / "w.pth", {"a": np.zeros((3, 5), np.float32)})
    content = path.read_bytes()
    for shape in ((4, 5), (-3, 5), (2**30, 2**30)):
        changed = torch_files._tuple(shape)
        path.write_bytes(content.replace(torch_files._tuple((3, 5)), changed))
        with pytest.raises(FormatError, match="beyond"):
            torch_file.read(path)

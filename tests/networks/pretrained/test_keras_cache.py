import hashlib
import os
import socket

import pytest

from engine.base.config import UserError
from engine.networks.pretrained import keras_cache
from engine.networks.pretrained.keras_cache import CachedFile

CONTENT = b"weights"
FILE = CachedFile("network_notop.h5", 12.3, hashlib.md5(CONTENT).hexdigest())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(keras_cache, "can_connect", lambda: False)


def test_offline_with_nothing_in_the_cache_is_one_line_with_file_folder_and_size(folder, offline):
    with pytest.raises(UserError, match=r"network_notop.h5 \(12.3 MB\) is not in") as error:
        keras_cache.check(FILE)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_there_needs_no_network(folder, offline):
    (folder / FILE.name).write_bytes(CONTENT)
    keras_cache.check(FILE)


def test_a_damaged_file_is_told_from_a_missing_one(folder, offline):
    (folder / FILE.name).write_bytes(CONTENT[:3])
    with pytest.raises(UserError, match="is damaged or of another version"):
        keras_cache.check(FILE)
    keras_cache.check(FILE._replace(md5=""))  # of one file Keras knows no MD5


def test_where_there_is_a_network_keras_downloads(folder, monkeypatch):
    monkeypatch.setattr(keras_cache, "can_connect", lambda: True)
    keras_cache.check(FILE)


def test_a_proxy_is_asked_instead_of_the_host(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "")
        assert keras_cache.can_connect(patience=30)
    assert not keras_cache.can_connect(patience=30)


def test_a_folder_that_cannot_be_written_is_replaced_as_keras_does(monkeypatch):
    monkeypatch.setenv("KERAS_HOME", "/home/none")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert keras_cache.folder_of_weights().parts[-2:] == (".keras", "models")
    assert "home" not in keras_cache.folder_of_weights().parts

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import peer_process, peers
from benchmarks.peer_process import PeerError, PeerProcess


@pytest.fixture
def request_for(tmp_path):
    """What a peer is asked for: 5 flat images of 16 x 16 in two classes."""
    for index in range(5):
        path = tmp_path / "files" / ("ill" if index % 2 else "well") / f"{index}.jpeg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16), 20 * index, np.uint8)).save(path)

    def make(**changes):
        options = {
            "folder": tmp_path / "files",
            "shards": tmp_path,
            "scratch": tmp_path / "scratch",
            "image_shape": (16, 16, 1),
            "batch_size": 2,
            "workers": 1,
        }
        return peers.Request(**{**options, **changes})

    return make


def test_a_request_survives_the_way_to_another_process(request_for):
    request = request_for(training=True)
    assert peers.Request.from_json(request.to_json()) == request


def test_examples_are_labelled_by_the_order_of_their_folders(request_for):
    found = [(path.name, label) for path, label in request_for().examples()]
    assert found == [("1.jpeg", 0), ("3.jpeg", 0), ("0.jpeg", 1), ("2.jpeg", 1), ("4.jpeg", 1)]


@pytest.mark.parametrize("name", peers.NAMES)
def test_every_peer_says_what_it_is_and_needs_and_imports_it_only_when_opened(name):
    module = peers.load(name)
    assert module.TITLE
    assert module.REQUIRES
    assert isinstance(module.PACKED, bool)
    assert callable(module.open)
    allowed = {"numpy", "benchmarks", *sys.stdlib_module_names}
    for node in ast.parse(Path(module.__file__).read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [node.module] if isinstance(node, ast.ImportFrom) else [n.name for n in node.names]
            )
            assert {one.partition(".")[0] for one in names} <= allowed


def test_every_file_is_listed_and_every_name_has_a_file():
    folder = Path(peers.__file__).parent
    files = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("__")}
    assert files == set(peers.NAMES)


def test_titles_differ():
    titles = [peers.load(name).TITLE for name in peers.NAMES]
    assert len(set(titles)) == len(titles)


def test_a_peer_that_is_not_installed_is_skipped_with_a_word(request_for, monkeypatch):
    monkeypatch.setattr(peer_process, "find_python", lambda name: None)
    with (
        pytest.raises(PeerError, match=r"not installed .*make peers"),
        PeerProcess("dali_cpu", request_for().to_json()),
    ):
        pass


def test_errors_are_shown_without_the_paths_of_this_machine():
    line = "InfoError: Could not read dataset info from /home/someone/shards/dataset_info.json"
    assert peer_process.shown(line).endswith("info from dataset_info.json")


@pytest.mark.slow
def test_a_peer_in_its_own_process_answers_with_what_each_run_took(request_for):
    with PeerProcess("image_dataset", request_for().to_json()) as peer:
        assert peer.run(1).images == 5
        work = peer.run(3)
    assert work.images == 15
    assert work.cpu_seconds > 0
    assert work.peak_memory_bytes > 2**20


@pytest.mark.slow
def test_a_peer_that_breaks_down_says_why(request_for, tmp_path):
    request = request_for(folder=tmp_path / "nowhere").to_json()
    with (
        pytest.raises(PeerError, match=r"nowhere|directory"),
        PeerProcess("image_dataset", request),
    ):
        pass

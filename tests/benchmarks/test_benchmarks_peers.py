import ast
import contextlib
import sys
from pathlib import Path

import grey_files
import numpy as np
import pytest

from benchmarks import context as context_module
from benchmarks import peer_process, peers
from benchmarks.peer_process import PeerError, PeerProcess
from benchmarks.reports import Report
from benchmarks.settings import BenchmarkConfig
from benchmarks.suites import input as input_suite
from benchmarks.suites import peers as peers_suite


@pytest.fixture
def request_for(tmp_path):
    """What a peer is asked for: 5 flat images of 16 x 16 in two classes."""
    for index in range(5):
        path = tmp_path / "files" / ("ill" if index % 2 else "well") / f"{index}.jpeg"
        grey_files.write(path, 20 * index, (16, 16))

    def make(**changes):
        options = {
            "folder": tmp_path / "files",
            "shards": tmp_path,
            "scratch": tmp_path / "scratch",
            "image_shape": (16, 16, 1),
            "batch_size": 2,
            "workers": 1,
            "num_images": 5,
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
    assert module.KIND in (peers.FILES, peers.PACKED, peers.MEMORY)
    assert getattr(module, "WAYS", peers.BOTH_WAYS) == peers.BOTH_WAYS
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


@pytest.mark.parametrize("name", ["image_dataset", "image_dataset_cached"])
def test_a_loader_gives_whole_epochs_however_it_is_held_open(request_for, name):
    for kept_open in (False, True):
        run = peers.load(name).open(request_for(kept_open=kept_open))
        assert [run(1), run(1), run(2)] == [5, 5, 10]


def test_a_peer_that_is_held_open_in_two_ways_has_a_side_for_each(monkeypatch):
    requests = []

    class Opened:
        def __init__(self, name, values):
            requests.append((name, values["kept_open"]))

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def run(self, passes):
            return passes

    monkeypatch.setattr(context_module, "PeerProcess", Opened)
    monkeypatch.setattr(context_module.Context, "request", lambda self, **options: Stored(options))
    context = context_module.Context(lambda: None, BenchmarkConfig(), lambda line: None)
    report = Report("peers", "")
    with contextlib.ExitStack() as stack:
        both = context.open_peer_ways("tfds_shards", stack, report, group="g")
        one = context.open_peer_ways("torch_pillow", stack, report, group="g")
    title = peers.load("tfds_shards").TITLE
    assert [side.name for side in both] == [f"{title}, reopened each epoch", f"{title}, kept open"]
    assert [side.name for side in one] == [peers.load("torch_pillow").TITLE]
    assert requests == [("tfds_shards", False), ("tfds_shards", True), ("torch_pillow", False)]


class Stored(dict):
    """What a peer is asked for, as given."""

    def to_json(self):
        return dict(self)


def test_what_lies_in_memory_is_asked_nothing_and_says_so_in_its_name():
    assert input_suite.target_of(input_suite.COPY) == 0.6
    assert input_suite.target_of("image_dataset_from_directory, kept open") == 8.0
    assert input_suite.target_of(f"{input_suite.CACHE}, kept open") is None
    assert peers_suite.MEMORY_TARGETS[peers.MEMORY] is None
    assert "same batches" in peers.load("image_dataset_cached").TITLE


@pytest.mark.parametrize("kept_open", [False, True])
def test_cached_examples_come_anew_in_each_epoch(kept_open):
    images = np.zeros((10, 4, 4, 1), np.uint8)
    run = input_suite.cached_examples(images, 5, kept_open=kept_open)
    assert [run(1), run(2)] == [10, 20]


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

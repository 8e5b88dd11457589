import numpy as np
import pytest

from engine.training import checkpoints

ARRAYS = {"model/0000": np.arange(6.0).reshape(2, 3), "model/0001": np.array(3, np.int64)}


def save(directory, step, **options):
    state = {"rows": [{"loss": 0.1}], "step": step}
    return checkpoints.save(directory, step=step, arrays=ARRAYS, state=state, **options)


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    save(tmp_path, 12)
    loaded = checkpoints.load_newest(tmp_path)
    assert loaded.step == 12
    assert loaded.state == {"rows": [{"loss": 0.1}], "step": 12}
    assert loaded.arrays.keys() == ARRAYS.keys()
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded.arrays[key], array)
        assert loaded.arrays[key].dtype == array.dtype


def test_only_the_newest_are_kept(tmp_path):
    for step in (9, 10, 11, 100):
        save(tmp_path, step, kept=2)
    assert [path.name for path in checkpoints.paths(tmp_path)] == [
        "step-00000011.npz",
        "step-00000100.npz",
    ]


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_a_damaged_newest_is_passed_over_and_named(tmp_path, damage):
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    content = bytearray(newest.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray()
    else:
        place = content.find(np.arange(6.0).tobytes())
        content[place + 20] ^= 0xFF
    newest.write_bytes(content)
    loaded = checkpoints.load_newest(tmp_path)
    assert loaded.step == 1
    assert loaded.skipped == (newest,)


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoints.load_newest(tmp_path) is None
    assert checkpoints.load_newest(tmp_path / "absent") is None


def test_a_half_written_file_is_no_checkpoint(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "step-00000002.partial.npz").write_bytes(b"half")
    assert checkpoints.load_newest(tmp_path).step == 1


def test_what_a_writer_was_given_is_on_the_disk_when_it_closes(tmp_path):
    writer = checkpoints.Writer(tmp_path)
    for step in (1, 2):
        writer.save(step=step, arrays={"a": np.full(3, step)}, state={"n": step})
    writer.close()
    found = checkpoints.load_newest(tmp_path)
    assert (found.step, found.state) == (2, {"n": 2})
    np.testing.assert_array_equal(found.arrays["a"], [2, 2, 2])


def test_what_goes_wrong_while_saving_is_raised_later(tmp_path):
    (tmp_path / "file").write_text("in the way")
    writer = checkpoints.Writer(tmp_path / "file")
    writer.save(step=1, arrays={}, state={})
    with pytest.raises(OSError):
        writer.close()


def test_every_flipped_byte_and_every_cut_is_told(tmp_path):
    """The archive's own checksums leave its headers out: of 7,000 flips 145 ended the resume."""
    path = save(tmp_path, 7)
    whole, chance = path.read_bytes(), np.random.default_rng(0)
    places = chance.integers(0, len(whole), 400)
    flips = chance.integers(1, 256, len(places))
    damaged = [
        whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :]
        for place, flip in zip(places.tolist(), flips.tolist(), strict=True)
    ]
    damaged += [whole[:length] for length in chance.integers(0, len(whole), 100).tolist()]
    damaged += [whole[:-1], whole + b"\0", whole + whole]
    for content in damaged:
        path.write_bytes(content)
        assert checkpoints.load_newest(tmp_path) is None
    path.write_bytes(whole)
    assert checkpoints.load_newest(tmp_path).step == 7


def test_a_checkpoint_under_another_steps_name_is_none(tmp_path):
    path = save(tmp_path, 7)
    path.rename(path.with_name("step-00000008.npz"))
    assert checkpoints.load_newest(tmp_path) is None


def test_a_checkpoint_is_a_numpy_archive(tmp_path):
    with np.load(save(tmp_path, 7)) as archive:
        np.testing.assert_array_equal(archive["model/0000"], ARRAYS["model/0000"])


def test_files_of_another_version_are_told_from_damaged_ones(tmp_path, monkeypatch):
    now = save(tmp_path, 1)
    assert not checkpoints.is_of_another_version(now)
    monkeypatch.setattr(checkpoints, "VERSION", checkpoints.VERSION + 1)
    assert checkpoints.is_of_another_version(now)
    assert checkpoints.load_newest(tmp_path) is None
    with open(now, "wb") as file:
        np.savez(file, **ARRAYS)
    assert checkpoints.is_of_another_version(now)
    now.write_bytes(now.read_bytes()[:-30])
    assert not checkpoints.is_of_another_version(now)


def test_only_what_was_being_saved_is_removed(tmp_path):
    kept = save(tmp_path, 1)
    for name in ("step-00000002.partial.npz", "mine.npz"):
        (tmp_path / name).write_bytes(b"x")
    checkpoints.remove_unfinished(tmp_path)
    checkpoints.remove_unfinished(tmp_path / "absent")
    assert {path.name for path in tmp_path.iterdir()} == {kept.name, "mine.npz"}

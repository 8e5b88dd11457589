"""Which directory takes a run, and what may differ when one goes on; without TensorFlow."""

import copy

import numpy as np
import pytest

from engine.base import files, locks
from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.base.user_code import Reference
from engine.runs.run_directory import RunDirectory
from engine.training import checkpoints, code_identity, resuming

CONFIG = TrainConfig(epochs=3)
DESCRIBED = {
    "data": {
        "fingerprint": "f" * 64,
        "image_size": [16, 16],
        "seed": 0,
        "splits": {
            "train": {"num_examples": 9, "class_counts": {}, "records": "1"},
            "test": {"num_examples": 3, "class_counts": {}, "records": "2"},
        },
    },
    "runtime": {
        "precision": "mixed_bfloat16",
        "jit_compile": False,
        "num_replicas": 1,
        "order": "whole split",
    },
    "host": "first",
}
WEIGHTS = {"model/0000": np.ones((2, 3), np.float32), "optimizer/0000": np.array(7, np.int64)}


@pytest.fixture
def run(tmp_path):
    """A run that has saved a checkpoint."""
    run = RunDirectory(tmp_path / "run")
    resuming.record_start(run, CONFIG, DESCRIBED)
    checkpoints.save(run.checkpoints, step=4, arrays=WEIGHTS, state={"rows": []})
    return run


def prepare(run, config=CONFIG, described=DESCRIBED, *, resume=True, overwrite=False):
    return resuming.prepare_directory(run, config, described, resume=resume, overwrite=overwrite)


def with_(**changes):
    return TrainConfig.from_json({**CONFIG.to_json(), **changes})


def changed(part, **values):
    described = copy.deepcopy(DESCRIBED)
    described[part].update(values)
    return described


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"fingerprint": "e" * 64}, "other images"),
        ({"image_size": [32, 32]}, "image_size"),
        ({"seed": 1}, "seed 0, now 1"),
        (
            {
                "splits": {
                    **DESCRIBED["data"]["splits"],
                    "test": {"num_examples": 3, "class_counts": {}, "records": "3"},
                }
            },
            "test split of other records",
        ),
    ],
)
def test_a_run_does_not_go_on_with_other_data(run, values, said):
    before = run.environment.read_bytes()
    with pytest.raises(UserError, match=r"--resume: .* other data") as refused:
        prepare(run, described=changed("data", **values))
    assert said in str(refused.value)
    assert run.environment.read_bytes() == before


@pytest.mark.parametrize(
    ("values", "cure"),
    [
        ({"precision": "float32"}, "--precision mixed_bfloat16"),
        ({"jit_compile": True}, "--jit-compile off"),
        ({"order": "windows"}, "--cache memory"),
    ],
)
def test_what_auto_came_to_must_be_the_same(run, values, cure):
    with pytest.raises(
        resuming.OtherComputationError, match="would not compute as it did before"
    ) as refused:
        prepare(run, described=changed("runtime", **values))
    assert cure in str(refused.value)
    ((name, value),) = values.items()
    assert refused.value.differing == f"{name} is {value} here, was {DESCRIBED['runtime'][name]}"


def test_a_run_does_not_go_on_with_code_that_changed(run, tmp_path):
    """What has no source, or was not recorded by an earlier version, is not compared."""
    file = tmp_path / "own.py"
    file.write_text("def build(image_format, num_classes): ...\n")
    reference = Reference.parse(f"{file}:build", flag="--model")
    before = code_identity.describe(model=reference, loss=lambda labels, logits: logits)
    assert before.keys() == {"model"}
    assert prepare(run, described={**DESCRIBED, "code": before}).step == 4
    files.write_json(run.environment, {**DESCRIBED, "code": before})
    assert prepare(run, described={**DESCRIBED, "code": before}).step == 4
    assert prepare(run).step == 4
    file.write_text("def build(image_format, num_classes): return 1\n")
    now = code_identity.describe(model=reference, loss=None)
    with pytest.raises(UserError, match=r"--resume: .*own.py \(--model\) changed") as refused:
        prepare(run, described={**DESCRIBED, "code": now})
    assert "\n" not in str(refused.value)


def test_what_auto_came_to_can_be_asked_for_by_name(run):
    config = with_(precision="mixed_bfloat16", jit_compile="off")
    assert prepare(run, config).step == 4


def test_xla_follows_the_number_of_devices_which_may_differ(run):
    described = changed("runtime", jit_compile=True, num_replicas=2)
    assert prepare(run, described=described).step == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", "f1"), ("on_divergence", "rewind"), ("max_rewinds", 9), ("seed", 1),
        ("deterministic", True), ("shuffle_window", 7),
    ],
)  # fmt: skip
def test_a_setting_that_changes_results_is_refused(run, name, value):
    flag = "--" + name.replace("_", "-")
    with pytest.raises(UserError, match=f"{flag} was "):
        prepare(run, with_(**{name: value}))


def test_settings_that_change_nothing_may_differ(run):
    free = {
        "cache": "streaming",
        "checkpoint_every": "5",
        "profile": "1:2",
        "num_logical_devices": 2,
    }
    assert prepare(run, with_(**free)).step == 4


def test_the_record_of_the_start_stays_and_resumes_are_added(run):
    config = run.config.read_bytes()
    for host in ("second", "third"):
        resuming.record_start(run, with_(cache="streaming"), changed("runtime", summary=host))
        resuming.record_resume(run, {"host": host})
    stored = files.read_json(run.environment)
    assert stored.pop("resumed") == [{"host": "second"}, {"host": "third"}]
    assert stored == DESCRIBED
    assert run.config.read_bytes() == config


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("left", ["environment", "asides", "lock", "nothing"])
def test_a_run_killed_as_it_began_can_begin_again(tmp_path, left, resume):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    if left == "environment":  # of a start on other data
        files.write_json(run.environment, {**DESCRIBED, "host": "another"})
    if left == "asides":
        for path in (run.environment, run.config):
            files.aside_path(path).write_text("{")
    if left == "lock":
        (run.path / locks.LOCK_NAME).write_text("{}")
    assert prepare(run, resume=resume) is None
    resuming.record_start(run, CONFIG, DESCRIBED)
    assert files.read_json(run.environment) == DESCRIBED
    assert prepare(run) is None
    assert not files.aside_path(run.config).exists()


def test_a_config_without_an_environment_goes_on_from_the_start(tmp_path):
    run = RunDirectory(tmp_path / "run")
    files.write_json(run.config, CONFIG.to_json())
    assert prepare(run) is None
    resuming.record_start(run, CONFIG, DESCRIBED)
    assert files.read_json(run.environment) == DESCRIBED


def test_checkpoints_without_an_environment_are_refused(run):
    run.environment.unlink()
    with pytest.raises(UserError, match=r"environment\.json"):
        prepare(run)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_model_alone_is_not_taken_for_a_run_that_never_began(tmp_path, overwrite):
    run = RunDirectory(tmp_path)
    run.model.write_bytes(b"mine")
    files.write_json(run.environment, DESCRIBED)
    with pytest.raises(UserError, match=r"other files|by hand"):
        prepare(run, resume=False, overwrite=overwrite)
    assert run.model.read_bytes() == b"mine"


def test_overwrite_removes_all_that_the_run_owns_and_nothing_else(run):
    for path in run.owned:
        if not path.exists() and not path.suffix:
            (path / "inner").mkdir(parents=True)
            (path / "inner" / "file").write_text("x")
        elif not path.exists():
            path.write_text("x")
        files.aside_path(path).write_text("half")
    (run.evaluation("elsewhere")).mkdir()
    (run.path / "notes.txt").write_text("mine")
    assert prepare(run, resume=False, overwrite=True) is None
    assert [path.name for path in run.path.iterdir()] == ["notes.txt"]


def test_an_overwrite_that_was_killed_can_be_given_again(run, monkeypatch):
    remove = resuming._remove

    def killed(path):
        if path == run.model:
            raise KeyboardInterrupt
        remove(path)

    monkeypatch.setattr(resuming, "_remove", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(run, resume=False, overwrite=True)
    monkeypatch.undo()
    assert prepare(run, resume=False, overwrite=True) is None
    assert not list(run.path.iterdir())


def test_only_one_training_holds_a_directory(run):
    with (
        resuming.held(run),
        pytest.raises(UserError, match="is in use: a training by process"),
        resuming.held(run),
    ):
        pass
    with resuming.held(run):
        pass


def test_wrong_input_frees_a_directory_that_has_nothing_yet_and_no_other(run, tmp_path):
    new = RunDirectory(tmp_path / "new")
    for one in (new, run):
        with pytest.raises(UserError), resuming.held(one), resuming.freed_if_never_begun(one):
            resuming.record_start(one, CONFIG, DESCRIBED)
            raise UserError("wrong")
    assert not list(new.path.iterdir())
    assert run.config.is_file()


def test_a_trained_run_without_checkpoints_is_not_freed(run):
    checkpoints.paths(run.checkpoints)[0].unlink()
    run.model.write_bytes(b"trained")
    with pytest.raises(UserError), resuming.freed_if_never_begun(run):
        raise UserError("wrong")
    assert run.model.read_bytes() == b"trained"


def test_what_a_killed_run_was_saving_is_removed(run):
    aside = run.checkpoints / "step-00000009.partial.npz"
    aside.write_bytes(b"half")
    files.aside_path(run.model).write_bytes(b"half")
    assert prepare(run).step == 4
    assert not aside.exists() and not files.aside_path(run.model).exists()


@pytest.mark.parametrize(("content", "said"), [("old", "earlier version"), ("cut", "damaged")])
def test_checkpoints_that_cannot_be_gone_on_from_are_told_in_a_line(run, content, said):
    (path,) = checkpoints.paths(run.checkpoints)
    if content == "old":
        with open(path, "wb") as file:
            np.savez(file, state=np.frombuffer(b"{}", np.uint8), **WEIGHTS)
    else:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=said) as refused:
        prepare(run)
    assert "--overwrite" in str(refused.value) and "\n" not in str(refused.value)


def test_a_checkpoint_of_another_network_is_refused(run):
    checkpoint = checkpoints.load_newest(run.checkpoints)
    resuming.check_fits(checkpoint, WEIGHTS)
    for other in (
        {**WEIGHTS, "model/0000": np.ones((3, 2), np.float32)},
        {**WEIGHTS, "model/0000": np.ones((2, 3), np.float64)},
        {**WEIGHTS, "model/0001": np.ones(1, np.float32)},
        {name: WEIGHTS[name] for name in ("optimizer/0000",)} | {"model/0001": np.ones(1)},
    ):
        with pytest.raises(UserError, match="another network: model/000"):
            resuming.check_fits(checkpoint, other)

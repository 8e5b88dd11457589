"""`import engine`: functions that are imported when they are used, and refuse wrong input in a line."""

import inspect
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import fake_run
import numpy as np
import pytest

import engine
from engine import api
from engine.base.settings import TrainConfig
from engine.networks import registry

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"depth": 2, "width": 4, "global_batch_size": 16, "epochs": 1}
HEAVY = ("tensorflow", "keras", "matplotlib", "numpy")


@pytest.mark.parametrize(
    "first",
    [
        "import engine",
        "import engine.train, engine.evaluate, engine.predict",
        "from engine import predict, evaluate, train",
        "import engine.api",
    ],
)
def test_names_are_functions_and_commands_whichever_is_imported_first(first):
    program = (
        f"{first}\nimport engine, engine.train, sys\n"
        "assert engine.train.main and engine.train.build_parser\n"
        "for name in ('build', 'train', 'evaluate', 'predict', 'report', 'load'):\n"
        "    assert callable(getattr(engine, name)), name\n"
        "    assert name in dir(engine) and name in engine.__all__\n"
        "assert 'datasets' in dir(engine) and 'datasets' in engine.__all__\n"
        "for call in (\n"
        "    lambda: engine.train('absent', 'run', lr=1), lambda: engine.train('absent', 'run'),\n"
        "    lambda: engine.evaluate('absent', 'absent'), lambda: engine.predict('absent', '.'),\n"
        "    lambda: engine.load('absent'), lambda: engine.build('absent', 'new')\n):\n"
        "    try:\n        call()\n"
        "    except engine.UserError as error:\n        print(str(error).partition(';')[0])\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "train(): no setting is called 'lr'",
        "absent: no such directory",
        *["absent: no such run directory"] * 3,
        "absent: no such folder",
    ]


def test_the_package_itself_imports_nothing():
    program = (
        "import sys, engine\n"
        f"found = [name for name in sys.modules if name.partition('.')[0] in {HEAVY!r}]\n"
        "found += [name for name in sys.modules if name.startswith('engine.')]\n"
        "sys.exit(str(found) if found else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        engine.trian  # noqa: B018


def test_types_are_packaged_and_every_function_is_documented():
    assert (ROOT / "engine" / "py.typed").is_file()
    for name in ("build", "train", "evaluate", "predict", "report", "load"):
        function = getattr(api, name)
        assert inspect.signature(getattr(engine, name)) == inspect.signature(function)
        assert "Raises:" in function.__doc__
        for parameter in inspect.signature(function).parameters:
            assert f"{parameter}:" in function.__doc__, (name, parameter)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda tmp: engine.build(tmp / "absent", tmp / "new"), "absent: no such folder"),
        (lambda tmp: engine.build(tmp, tmp / "new", image_size=2), "--image-size: got 2"),
        (lambda tmp: engine.build(tmp, tmp / "new", size=2), r"build\(\): no setting .* 'size'"),
        (lambda tmp: engine.train(tmp / "absent", tmp / "new"), "absent: no such directory"),
        (lambda tmp: engine.train(tmp, tmp / "new", epochs=0), "--epochs: got 0"),
        (lambda tmp: engine.train(tmp, tmp / "new", config=3), "config: got int, expected"),
        (lambda tmp: engine.train(tmp, tmp / "new", config=tmp / "no.json"), "cannot be read"),
        (
            lambda tmp: engine.train(
                tmp, tmp / "new", config={"model_settings": {}}, model_settings=3
            ),
            "--model-settings: got 3",
        ),
        (lambda tmp: engine.train(tmp, tmp / "new", model="cn"), "did you mean 'cnn'"),
        (lambda tmp: engine.evaluate(tmp / "absent", tmp), "no such run directory"),
        (lambda tmp: engine.evaluate(tmp / "absent", tmp, resample=3), "mean 'resamples'"),
        (lambda tmp: engine.predict(tmp / "absent", tmp), "no such run directory"),
        (lambda tmp: engine.predict(tmp, ""), "got an empty text"),
        (lambda tmp: engine.load(tmp / "absent"), "no such run directory"),
    ],
)
def test_wrong_input_is_a_user_error_of_one_line(call, said, tmp_path):
    with pytest.raises(engine.UserError, match=said) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_settings_stand_over_a_configuration_however_it_is_given(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"epochs": 3, "seed": 5}))
    for config in (
        TrainConfig(epochs=3, seed=5),
        {"epochs": 3, "seed": 5},
        tmp_path / "config.json",
        str(tmp_path / "config.json"),
    ):
        configured = api._configured(TrainConfig, config, {"seed": 7}, "train()")
        assert configured == TrainConfig(epochs=3, seed=7)
    assert api._configured(TrainConfig, None, {}, "train()") == TrainConfig()


def test_images_become_shards_a_run_figures_and_predictions(image_folder, tmp_path, capsys):
    shards, run = tmp_path / "shards", tmp_path / "run"
    manifest = engine.build(image_folder, shards, image_size=32, workers=1)
    assert manifest.splits["train"].num_examples > 60
    assert engine.datasets.steps_per_epoch(shards, global_batch_size=16) >= 3
    result = engine.train(shards, run, config=SMALL, seed=3)
    assert result.best_epoch == 1
    assert json.loads((run / "config.json").read_text())["seed"] == 3
    evaluation = engine.evaluate(run, shards, resamples=200)
    assert evaluation.num_examples == 24
    paths = [image_folder / "test" / "NORMAL", str(image_folder / "test" / "PNEUMONIA")]
    predictions = engine.predict(run, paths)
    assert len(predictions) == 24
    assert capsys.readouterr().out == ""
    threshold = result.threshold
    for prediction in predictions:
        assert prediction.path.is_file()
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert prediction.probability == prediction.probabilities["PNEUMONIA"]
        assert (prediction.predicted == "PNEUMONIA") == (prediction.probability >= threshold)


def test_what_a_training_is_given_comes_to_the_trainer(shards, tmp_path, monkeypatch):
    from engine.training import trainer

    given = {}

    def train(config, *places, **options):
        given.update(options, config=config, places=places)

    def loss(labels, logits):
        return logits[:, 0]

    monkeypatch.setattr(trainer, "train", train)
    callback = object()
    engine.train(str(shards), str(tmp_path / "run"), loss=loss, callbacks=[callback], **SMALL)
    assert given["places"] == (shards, tmp_path / "run")
    assert (given["loss"], given["callbacks"]) == (loss, [callback])
    assert given["config"].loss.endswith(".loss")
    engine.train(shards, tmp_path / "run", init_from=fake_run.make_run(tmp_path / "old"), **SMALL)
    assert given["config"].init_from == str(tmp_path / "old")
    engine.train(shards, tmp_path / "run", loss="focal", **SMALL)
    assert given["config"] == TrainConfig(**SMALL, loss="focal")


def test_settings_of_a_function_are_those_of_the_network(shards, tmp_path, monkeypatch):
    from engine.training import trainer

    def build(image_format, num_classes, filters: int = 8, width: int = 2):
        raise AssertionError

    configs = []
    monkeypatch.setattr(trainer, "train", lambda config, *_, **__: configs.append(config))
    engine.train(shards, tmp_path / "run", model=build, filters=5, global_batch_size=16)
    assert configs[0].model_settings == {"filters": 5, "width": 2}
    engine.train(shards, tmp_path / "run", model=build, width=4, global_batch_size=16)
    assert configs[1].model_settings == {"filters": 8, "width": 4}
    with pytest.raises(engine.UserError, match=r"no setting .* 'filtres'; did you mean 'filters'"):
        engine.train(shards, tmp_path / "run", model=build, filtres=5, global_batch_size=16)
    with pytest.raises(engine.UserError, match=r"--depth: .* does not use it"):
        engine.train(shards, tmp_path / "run", model=build, depth=3, global_batch_size=16)


def test_a_pretrained_network_has_its_defaults_where_nothing_else_is_given(
    shards, tmp_path, monkeypatch
):
    from engine.training import trainer

    given = []
    monkeypatch.setattr(trainer, "train", lambda config, *_, **options: given.append(config))
    monkeypatch.setattr(registry, "check_weights", lambda *_: None)
    name = "efficientnet_lite0"
    own = TrainConfig(model=name, epochs=3)
    for config in (None, {"epochs": 3}, TrainConfig(model=name), own, TrainConfig().to_json()):
        engine.train(shards, tmp_path / "run", model=name, config=config, global_batch_size=16)
    preferred, usual = registry.resolve(name).defaults, TrainConfig()
    found = [(config.epochs, config.learning_rate) for config in given]
    assert found == [
        (preferred["epochs"], preferred["learning_rate"]),
        (3, preferred["learning_rate"]),
        (preferred["epochs"], preferred["learning_rate"]),
        (3, preferred["learning_rate"]),
        (usual.epochs, usual.learning_rate),
    ]


def test_a_loaded_run_gives_probabilities_of_arrays(tmp_path):
    predictor = engine.load(fake_run.make_run(tmp_path / "run"), batch_size=4)
    images = np.stack([np.full((12, 16, 1), level, np.uint8) for level in (0, 255)])
    assert (predictor.predict(images) > 0.5).tolist() == [False, True]


def test_a_signal_takes_effect_after_the_run_is_saved():
    saved = []
    with pytest.raises(KeyboardInterrupt), api._saved_first() as should_stop:
        assert not should_stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert should_stop()
        saved.append(True)
    assert saved
    stops = []

    def elsewhere() -> None:
        with api._saved_first() as should_stop:
            stops.append(should_stop())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert stops == [False]

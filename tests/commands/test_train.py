import json
import signal
import subprocess
import sys

import pytest

from engine import train
from engine.runs.run_directory import RunDirectory

FLAGS = ["--epochs", "1", "--global-batch-size", "16", "--depth", "2", "--width", "4"]


def test_a_run_says_how_good_and_how_fast_on_standard_output(striped, tmp_path, capsys):
    assert train.main([str(striped), "--workdir", str(tmp_path / "run"), *FLAGS]) == 0
    printed = capsys.readouterr()
    assert "best val_loss" in printed.out
    assert "images/s" in printed.out
    assert "decision threshold" in printed.out
    assert "epoch 1/1" in printed.err
    assert "input: memory tier" in printed.err


def test_a_diagnosis_ends_the_run_on_request(striped, tmp_path, capsys):
    assert train.main([str(striped), "--workdir", str(tmp_path / "run"), "--diagnose", *FLAGS]) == 0
    assert " x headroom" in capsys.readouterr().out


def test_settings_come_from_a_file_and_flags_stand_over_it(striped, tmp_path):
    settings = {"epochs": 5, "depth": 2, "width": 4, "global_batch_size": 16, "seed": 7}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    flags = ["--config", str(tmp_path / "settings.json"), "--epochs", "1"]
    assert train.main([str(striped), "--workdir", str(tmp_path / "run"), *flags]) == 0
    stored = json.loads(RunDirectory(tmp_path / "run").config.read_text())
    assert (stored["epochs"], stored["seed"]) == (1, 7)


def test_a_preview_is_drawn_and_nothing_trained(striped, tmp_path, capsys):
    picture = tmp_path / "preview.png"
    assert train.main([str(striped), "--preview-augmentation", str(picture)]) == 0
    assert capsys.readouterr().err == "loading TensorFlow ...\n"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [picture]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--workdir RUN is missing"),
        (["--workdir", "{tmp}/run", "--epochs", "none"], "--epochs"),
        (["--workdir", "{tmp}/run", "--augment", "wild"], "none, light, standard"),
        (["--workdir", "{tmp}/run", "--threshold", "lucky"], "youden"),
        (["--workdir", "{tmp}/run", "--global-batch-size", "1000000000"], "give at most 100"),
        (["--workdir", "{tmp}/run", "--config", "{tmp}/absent.json"], "absent.json"),
        (["--workdir", "{tmp}/run", "--global-batch-size", "1000"], "at most 100"),
        (["--workdir", "{tmp}/run", "--resume", "--overwrite"], "give one"),
    ],
)
def test_wrong_input_gets_one_line_and_status_two(striped, tmp_path, capsys, flags, said):
    flags = [flag.format(tmp=tmp_path) for flag in flags]
    assert train.main([str(striped), *flags]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_shards_that_are_none_are_said_to_be_none(tmp_path, capsys):
    assert train.main([str(tmp_path / "absent"), "--workdir", str(tmp_path / "run")]) == 2
    assert "no such directory" in capsys.readouterr().err


def test_several_seeds_are_summed_up_on_standard_output(striped, tmp_path, capsys, monkeypatch):
    from engine.training import seeds

    given = {}

    def train_seeds(config, shards, workdir, **options):
        given.update(options, config=config)
        places = (tmp_path / "seed-0", tmp_path / "seed-1")
        return seeds.EnsembleResult(places, 0.4, 0.99, (0.98, None), stopped=False)

    monkeypatch.setattr(seeds, "train_seeds", train_seeds)
    flags = ["--workdir", str(tmp_path / "run"), "--num-seeds", "2", *FLAGS]
    assert train.main([str(striped), *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "seed-0: val_auroc 0.9800",
        "seed-1: val_auroc undefined",
        "average of 2 runs: val_auroc 0.9900",
    ]
    assert "decision threshold 0.400" in lines[3]
    assert given["num_seeds"] == 2 and not given["resume"]


def signalled(command, number):
    """Signals a training once it has said two epochs; its exit status, and what it had said."""
    said = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            said.append(line)
            if sum(line.startswith("epoch ") for line in said) == 2:
                break
        process.send_signal(number)
        rest = process.stderr.read()
        sys.stderr.write(rest)
        return process.wait(timeout=120), said


@pytest.mark.slow
def test_a_signal_saves_a_run_that_resume_goes_on_with(striped, tmp_path):
    flags = [str(striped), "--workdir", str(tmp_path / "run"), *FLAGS, "--epochs", "3000"]
    command = [sys.executable, "-m", "engine.train", *flags]
    status, said = signalled(command, signal.SIGTERM)
    assert status == 143 and said[-1].startswith("epoch 2/")
    stored = json.loads(RunDirectory(tmp_path / "run").config.read_text())
    assert stored["epochs"] == 3000
    status, said = signalled([*command, "--resume"], signal.SIGINT)
    assert status == 130
    assert any("resuming after" in line for line in said)
    again = subprocess.Popen([*command, "--resume"], stderr=subprocess.PIPE, text=True)
    with again as process:
        resumed = any("resuming after" in line for line in process.stderr)
        process.kill()
    assert resumed

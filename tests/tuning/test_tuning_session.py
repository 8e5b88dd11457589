"""Whole searches, with trials that train nothing (tests/stub_trial.py) and are done at once."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from numbered_shards import striped_image, write_shards
from stored_results import make_evaluation

from engine.base import files, locks
from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.training import runtime
from tuning import figures, held_out, session
from tuning.search_directory import SearchDirectory
from tuning.search_space import Choices, Range, SearchSpace
from tuning.settings import SearchConfig
from tuning.trial_files import Outcome, TrialSpec

STUB = Path(__file__).parents[1] / "helpers" / "stub_trial.py"
SPACE = SearchSpace((Range("depth", 2, 4), Range("learning_rate", 1e-4, 1e-2, "log")))
GRID = SearchSpace((Range("depth", 2, 4), Choices("width", (8, 16))))


@pytest.fixture
def figures_drawn():
    """Asked for by a test that looks at the figures."""


@pytest.fixture(autouse=True)
def _no_figures(request, monkeypatch):
    """Figures take longer than all else here."""
    if "figures_drawn" not in request.fixturenames:
        monkeypatch.setattr(figures, "draw", lambda *arguments: [])


def config(**settings):
    return SearchConfig(
        **{"tuner": "random", "max_trials": 4, "epochs": 6, "global_batch_size": 16, **settings}
    )


def search(shards, workdir, mode="plain", *, space=SPACE, stop=lambda: False, **settings):
    command = (sys.executable, str(STUB), mode)
    return session.run_search(
        config(**settings), space, shards, workdir, stop=stop, trial_command=command
    )


def outcomes(workdir):
    """trial -> (values, outcome without times), from the disk."""
    directory = SearchDirectory(workdir)
    found = {}
    for trial_id in directory.trial_ids():
        trial = directory.trial(trial_id)
        outcome = Outcome.read(trial.outcome)
        found[trial_id] = (TrialSpec.read(trial.spec).values, outcome.status, outcome.value)
    return found


@pytest.mark.parametrize("tuner", ["random", "bayesian", "hyperband", "grid"])
def test_every_tuner_finds_the_best_of_its_trials(tuner, striped, tmp_path):
    space = GRID if tuner == "grid" else SPACE
    limit = None if tuner in ("grid", "hyperband") else 8
    result = search(striped, tmp_path / "s", tuner=tuner, space=space, max_trials=limit, epochs=4)
    values = [trial.outcome.value for trial in result.trials]
    assert len(values) > 4 and result.winner.best == max(values)
    if tuner == "hyperband":
        assert {trial.spec.last_epoch for trial in result.trials} == {2, 4}
        later = [trial.spec for trial in result.trials if trial.spec.continue_from]
        first = {trial.trial_id: trial.values for trial in result.trials}
        assert later and all(spec.values == first[spec.continue_from] for spec in later)


def test_a_search_leaves_a_configuration_a_leaderboard_a_report_figures_and_logs(
    striped, tmp_path, figures_drawn
):
    result = search(striped, tmp_path / "s", "crash", max_trials=5)
    left = SearchDirectory(tmp_path / "s")
    best = TrainConfig.from_json(json.loads(left.best.read_text()))
    assert best.depth == result.winner.values["depth"] and best.epochs == 6
    rows = list(csv.DictReader(left.leaderboard.open()))
    assert [row["status"] for row in rows] == ["completed", "crashed"] * 2 + ["completed"]
    assert "ZeroDivisionError: a bug" in rows[1]["reason"]
    text = left.report.read_text()
    for part in ("Winner: trial", "Leaderboard", "ZeroDivisionError", "0.0001 to 0.01, log"):
        assert part in text
    linked = re.findall(r"\]\((figures/\w+\.png)\)", text)
    assert len(linked) == 4
    for name in linked:
        assert (left.path / name).read_bytes().startswith(b"\x89PNG")
    assert (
        len(list(left.tensorboard.rglob("events*"))) == 1 + 3
    )  # the space, and trials with a value


@pytest.mark.parametrize(
    ("mode", "failure", "said"),
    [
        ("crash", "crashed", "exit status 1: ZeroDivisionError: a bug"),
        ("oom", "out of memory", "killed"),
        ("abort", "out of memory", "bad_alloc"),
        ("diverge", "diverged", "nan"),
    ],
)
def test_a_trial_that_fails_is_marked_with_its_reason_and_the_search_goes_on(
    mode, failure, said, striped, tmp_path
):
    result = search(striped, tmp_path / "s", mode)
    assert [trial.status for trial in result.trials] == ["completed", failure] * 2
    assert said in result.trials[1].outcome.reason
    assert result.winner.trial_id in ("0", "2") and not result.gave_up
    if mode == "crash":
        log = SearchDirectory(tmp_path / "s").trial("1").stderr.read_text()
        assert "Traceback" in log


def test_what_is_wrong_for_every_trial_stops_the_search_at_once(striped, tmp_path):
    with pytest.raises(UserError, match=r"^the shards are of another world$"):
        search(striped, tmp_path / "s", "wrong")
    assert SearchDirectory(tmp_path / "s").trial_ids() == ["0"]


def test_a_search_whose_trials_all_fail_gives_up(striped, tmp_path):
    result = search(striped, tmp_path / "s", "all-crash", max_trials=9, max_failures=3)
    assert result.gave_up and result.winner is None and len(result.trials) == 3
    assert "no trial has ended" in SearchDirectory(tmp_path / "s").report.read_text()


@pytest.mark.parametrize(
    ("settings", "space", "said"),
    [
        ({"epochs": 7}, SPACE, "--epochs was 6, now 7"),
        ({"seed": 3}, SPACE, "--seed was 0, now 3"),
        ({"tuner": "bayesian"}, SPACE, "--tuner was random"),
        ({}, GRID, "--width was not searched, now 8,16"),
        ({}, SearchSpace((Range("depth", 2, 3), SPACE["learning_rate"])), "--depth was 2:4:linear"),
    ],
)
def test_other_arguments_on_the_same_directory_are_named(settings, space, said, striped, tmp_path):
    search(striped, tmp_path / "s", max_trials=1)
    with pytest.raises(UserError, match=said):
        search(striped, tmp_path / "s", space=space, **{"max_trials": 1, **settings})


def test_more_trials_go_on_with_a_finished_search(striped, tmp_path):
    search(striped, tmp_path / "s", max_trials=3)
    before = outcomes(tmp_path / "s")
    search(striped, tmp_path / "s", max_trials=5)
    search(striped, tmp_path / "whole", max_trials=5)
    assert before.items() < outcomes(tmp_path / "s").items()
    assert outcomes(tmp_path / "s") == outcomes(tmp_path / "whole")


def test_a_finished_search_is_not_run_again(striped, tmp_path):
    first = search(striped, tmp_path / "s")
    again = search(striped, tmp_path / "s", "all-crash")
    assert again.winner == first.winner and len(again.trials) == 4


def test_a_directory_with_other_files_is_refused(striped, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="other files"):
        search(striped, tmp_path)
    with pytest.raises(UserError, match="is a file"):
        search(striped, tmp_path / "thesis.txt")


def test_two_searches_do_not_share_a_directory(striped, tmp_path):
    with (
        locks.held(tmp_path / "s", purpose="a search"),
        pytest.raises(UserError, match="is in use: a search by process"),
    ):
        search(striped, tmp_path / "s")


def test_a_search_does_not_go_on_with_another_split_of_the_same_images(striped, tmp_path):
    search(striped, tmp_path / "s", max_trials=1)
    counts = {"train": 104, "validation": 36, "test": 40}
    write_shards(tmp_path / "other", counts, draw=striped_image)
    with pytest.raises(UserError, match="train split of 100 images, now 104"):
        search(tmp_path / "other", tmp_path / "s", max_trials=2)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"threshold": "f1"}, "--threshold was youden, now f1"),
        ({"precision": "float32"}, "--precision was auto, now float32"),
    ],
)
def test_what_changes_a_trials_result_may_not_differ(striped, tmp_path, settings, said):
    search(striped, tmp_path / "s", max_trials=1)
    with pytest.raises(UserError, match=said):
        search(striped, tmp_path / "s", max_trials=2, **settings)


def test_what_changes_no_result_may_differ(striped, tmp_path):
    search(striped, tmp_path / "s", max_trials=1)
    free = {"cache": "streaming", "profile": "1:2", "steps_per_execution": "2", "max_failures": 2}
    assert len(search(striped, tmp_path / "s", max_trials=2, **free).trials) == 2


def test_a_search_continued_where_auto_is_another_precision_says_so(
    striped, tmp_path, capsys, monkeypatch
):
    directory = SearchDirectory(tmp_path / "s")
    search(striped, directory.path, max_trials=2)
    for trial_id in directory.trial_ids():
        ran_in = {"runtime": {"precision": "float32"}}
        files.write_json(directory.trial(trial_id).run.environment, ran_in)
    for precision in ("float32", "mixed_bfloat16"):
        monkeypatch.setattr(runtime, "choose_precision", lambda *_, now=precision: (now, "asked"))
        capsys.readouterr()
        search(striped, directory.path, max_trials=2)
        said = "--precision auto is mixed_bfloat16 here, was float32 in 2 finished trials"
        assert (said in capsys.readouterr().err) is (precision != "float32")


def test_a_search_that_is_told_to_stop_goes_on_where_it_was(striped, tmp_path):
    directory = SearchDirectory(tmp_path / "s")
    result = search(
        striped,
        tmp_path / "s",
        stop=lambda: len(list(directory.trials.glob("*/outcome.json"))) >= 2,
    )
    assert result.stopped and len(result.trials) == 2
    assert directory.best.is_file()
    assert not search(striped, tmp_path / "s").stopped
    search(striped, tmp_path / "whole")
    assert outcomes(tmp_path / "s") == outcomes(tmp_path / "whole")


@pytest.mark.parametrize(
    ("settings", "space", "said"),
    [
        ({"global_batch_size": 200}, SPACE, "at most 100"),
        ({}, SearchSpace((Range("depth", 2, 6),)), "--depth LOW:4"),
        ({}, SearchSpace((Choices("image_size", (16, 32)),)), "--image-size 32x32 is larger"),
        (
            {},
            SearchSpace((Range("depth", 2, 4), Choices("image_size", (8, 16)))),
            "8x8 pixels allow 3; give",
        ),
        ({"model": "tutorial"}, SPACE, "--depth: searched, but --model tutorial"),
        ({"head": "sigmoid", "threshold": "luck"}, SPACE, "youden"),
        ({}, SearchSpace(()), "nothing is searched"),
    ],
)
def test_what_some_trial_could_not_start_with_is_said_before_the_first(
    settings, space, said, striped, tmp_path
):
    with pytest.raises(UserError, match=said):
        search(striped, tmp_path / "s", space=space, **settings)
    assert not (tmp_path / "s").exists()


def test_trials_behind_the_median_end_early_and_are_never_the_winner(striped, tmp_path):
    settings = {"max_trials": 12, "pruning_warmup_trials": 3, "pruning_warmup_epochs": 1}
    result = search(striped, tmp_path / "s", **settings)
    whole = search(striped, tmp_path / "whole", pruning="none", max_trials=12)
    pruned = [trial for trial in result.trials if trial.status == "pruned"]
    assert pruned and all(2 <= len(trial.history) < 6 for trial in pruned)
    assert all(trial.status == "completed" for trial in whole.trials)
    assert [trial.values for trial in result.trials] == [trial.values for trial in whole.trials]
    assert result.winner.trial_id == whole.winner.trial_id
    assert (
        f"{len(pruned)} pruned, which saved" in SearchDirectory(tmp_path / "s").report.read_text()
    )


def test_the_winner_of_several_seeds_is_the_best_mean(striped, tmp_path):
    result = search(striped, tmp_path / "s", max_trials=6, num_seeds=3, top=2)
    assert len(result.repeats) == 2
    assert all(len(one.values) == 3 for one in result.repeats)
    assert all(one.spread == pytest.approx(0.01, rel=0.02) for one in result.repeats)
    assert result.repeats[0].mean > result.repeats[1].mean
    assert result.winner.trial_id == result.repeats[0].trial_id
    left = SearchDirectory(tmp_path / "s")
    assert (
        len(list(left.seeds.glob("*-seed*/outcome.json"))) == 4
    )  # the first seed is the trial itself
    specs = [TrialSpec.read(path) for path in left.seeds.glob("*/spec.json")]
    assert {spec.config["seed"] for spec in specs} == {1, 2}
    assert "with more seeds" in left.report.read_text()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_trials(striped, tmp_path):
    script = f"""
        import sys
        from tuning import session
        from tuning.search_space import Range, SearchSpace
        from tuning.settings import SearchConfig

        def resident():
            return next(int(l.split()[1]) for l in open("/proc/self/status") if l[:5] == "VmRSS")

        def stop():
            calls.append(resident())
            return False

        calls = []
        space = SearchSpace((Range("depth", 2, 4), Range("learning_rate", 1e-4, 1e-2, "log")))
        config = SearchConfig(tuner="random", max_trials=50, epochs=6, global_batch_size=16)
        session.run_search(config, space, {str(striped)!r}, {str(tmp_path / "s")!r}, stop=stop,
            trial_command=(sys.executable, {str(STUB)!r}, "plain"))
        print(calls[len(calls) // 5] / 1024, calls[-1] / 1024)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    early, late = (float(word) for word in done.stdout.split())
    assert late - early < 20, f"{early:.0f} MiB after 10 trials, {late:.0f} MiB after 50"
    assert len(outcomes(tmp_path / "s")) == 50


@pytest.mark.slow
def test_a_search_killed_twice_finishes_the_same_trials_as_an_undisturbed_one(striped, tmp_path):
    script = f"""
        import sys
        from tuning import session
        from tuning.search_space import Range, SearchSpace
        from tuning.settings import SearchConfig

        space = SearchSpace((Range("depth", 2, 4), Range("learning_rate", 1e-4, 1e-2, "log")))
        config = SearchConfig(tuner="random", max_trials=12, epochs=6, global_batch_size=16)
        session.run_search(config, space, {str(striped)!r}, {str(tmp_path / "s")!r},
            trial_command=(sys.executable, {str(STUB)!r}, "plain"))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    for ended in (3, 7):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while len(list((tmp_path / "s" / "trials").glob("*/outcome.json"))) < ended:
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    search(striped, tmp_path / "whole", max_trials=12)
    assert outcomes(tmp_path / "s") == outcomes(tmp_path / "whole")
    assert len(outcomes(tmp_path / "s")) == 12


def test_a_winner_worse_than_the_default_is_said_and_what_it_takes_announced(
    striped, tmp_path, monkeypatch, capsys
):
    """The stub's default is as good as can be: no trial of other depths and rates reaches it."""
    measured = make_evaluation()
    found = held_out.HeldOut("0", measured, measured)
    monkeypatch.setattr(held_out, "compare", lambda *arguments: found)
    result = search(striped, tmp_path / "s", compare_default=True)
    assert result.remark.startswith(
        "The default configuration did better on validation: val_auroc 0.97"
    )
    assert result.remark in SearchDirectory(tmp_path / "s").report.read_text()
    assert (
        f"| AUROC | {measured.metrics['auroc']} |"
        in SearchDirectory(tmp_path / "s").report.read_text()
    )
    said = capsys.readouterr().err
    assert "training the default configuration for comparison, about 10 s" in said
    assert said.count("validation has 14 images of class 'well'") == 1
    again = search(striped, tmp_path / "s", compare_default=True)
    assert again.remark == result.remark
    assert "training the default configuration" not in capsys.readouterr().err


def test_more_workers_than_the_host_bears_are_refused_before_any_starts(striped, tmp_path):
    with pytest.raises(UserError, match=r"--num-workers 200: .*give at most \d+$"):
        search(striped, tmp_path / "s", num_workers=200)
    assert not (tmp_path / "s").exists()

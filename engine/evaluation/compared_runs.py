"""The runs of a comparison: which evaluation of each is meant, and that all are of the same images.

Models can be compared with all that pairing gives only where each predicted every one of the same
images. So evaluations must be of the same source images and hold the same paths under the same labels;
shards of other sizes may hold them, as networks take images of different sizes.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.base import files
from engine.base.config import UserError
from engine.base.wording import counted, some_of
from engine.metrics.evaluation import Evaluation
from engine.metrics.subject import Subject
from engine.networks import registry
from engine.runs import ensemble, evaluation_ranking, stored_evaluations, stored_predictions
from engine.runs.evaluation_ranking import Measured
from engine.runs.run_directory import RunDirectory
from engine.runs.stored_predictions import StoredPredictions

_NO_DIFFERENCE = ("model", "model_settings")  # shown otherwise


@dataclasses.dataclass(frozen=True)
class ComparedRun:
    """One run with the evaluation that is compared.

    Attributes:
        name: what tables call it.
        directory: the evaluation's.
        model: the network, and of several runs how many.
        parameters, seconds: of training, summed over several runs; None where they are not known.
        settings: those of the run, and of its data, by name.
    """

    name: str
    path: Path
    directory: Path
    result: Evaluation
    subject: Subject
    predictions: StoredPredictions
    model: str
    parameters: int | None
    seconds: float | None
    settings: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Chosen:
    run: RunDirectory
    directory: Path
    result: Evaluation
    subject: Subject


def opened(paths: Sequence[Path], *, split: str, name: str | None) -> list[ComparedRun]:
    """The runs at paths, with the evaluations to compare, whose images are in the same order.

    Args:
        paths: run directories, ensembles, or evaluations (`RUN/evaluation/NAME`).
        split: the split that was measured, where a path is no evaluation.
        name: the evaluation in each run; None finds the one of `split`, on images that all have.

    Raises:
        UserError: a path is none of these, or the evaluations are missing, of an earlier model, or not
            of the same images.
    """
    chosen = _chosen(paths, split, name)
    directories = [each.directory.resolve() for each in chosen]
    for each, directory in zip(chosen, directories, strict=True):
        if directories.count(directory) > 1:
            raise UserError(f"{each.directory}: is given twice; expected different evaluations")
    first, *others = chosen
    for other in others:
        _require_same_kind(first, other)
    predictions = [stored_predictions.read(each.directory, each.result) for each in chosen]
    for place, other in enumerate(others, start=1):
        predictions[place] = _aligned(first, other, predictions[0], predictions[place])
    names = _names(chosen)
    return [
        _compared(each, called, found)
        for each, called, found in zip(chosen, names, predictions, strict=True)
    ]


def differing_settings(runs: Sequence[ComparedRun]) -> dict[str, list[Any]]:
    """The settings in which runs differ: name -> the value of each; None where it has none."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    values = {name: [run.settings.get(name) for run in runs] for name in names}
    return {name: found for name, found in values.items() if any(v != found[0] for v in found)}


# --- which evaluation -----------------------------------------------------------------------------


def _chosen(paths: Sequence[Path], split: str, name: str | None) -> list[_Chosen]:
    given: list[_Chosen | RunDirectory] = [
        _evaluation_at(path) if (path / stored_evaluations.METRICS).is_file() else _run_at(path)
        for path in paths
    ]
    if name is not None:
        return [
            each if isinstance(each, _Chosen) else _named(each, each.evaluation(name))
            for each in given
        ]
    offered = [[each] if isinstance(each, _Chosen) else _of_split(each, split) for each in given]
    for each, found in zip(given, offered, strict=True):
        if not found and isinstance(each, RunDirectory):
            raise UserError(
                f"{each.path}: holds no evaluation of the {split} split; measure it with "
                f"python -m engine.evaluate {_quoted(each.path)} SHARDS --split {split}"
            )
    base = next(
        (each for each in offered[0] if all(_on_images_of(each, found) for found in offered[1:])),
        offered[0][0],
    )
    return [base, *(_matching(base, found, split) for found in offered[1:])]


def _run_at(path: Path) -> RunDirectory:
    if not path.is_dir():
        raise UserError(f"{path}: no such run directory; train one with engine.train")
    run = ensemble.opened(path)
    if not run.config.is_file() and not run.evaluations.is_dir():
        raise UserError(
            f"{path}: is no run; expected a directory that engine.train made, or an evaluation in it "
            "(RUN/evaluation/NAME)"
        )
    return run


def _evaluation_at(directory: Path) -> _Chosen:
    return _named(ensemble.opened(directory.resolve().parent.parent), directory)


def _named(run: RunDirectory, directory: Path) -> _Chosen:
    result = stored_evaluations.read(directory)
    if result.subject is None:
        raise UserError(
            f"{directory}: does not say what it measured; measure again with python -m engine.evaluate"
        )
    chosen = _Chosen(run, directory, result, result.subject)
    model = None if result.subject.averaged else run.model_digest()
    if model is not None and model != result.subject.model:
        raise UserError(_outdated(chosen))
    return chosen


def _of_split(run: RunDirectory, split: str) -> list[_Chosen]:
    """The evaluations of a split as it is by the run alone; that which bears its name comes first."""
    measured = [each for each in evaluation_ranking.ranked(run) if _is_of_split(each, split)]
    found = [
        _Chosen(run, run.evaluation(each.name), each.result, each.result.subject)
        for each in measured
        if each.is_current and each.result is not None and each.result.subject is not None
    ]
    if measured and not found:
        first = measured[0]
        assert first.result is not None and first.result.subject is not None
        raise UserError(
            _outdated(_Chosen(run, run.evaluation(first.name), first.result, first.result.subject))
        )
    return sorted(found, key=lambda each: each.directory.name != split)


def _is_of_split(measured: Measured, split: str) -> bool:
    subject = measured.result.subject if measured.result is not None else None
    if subject is None or measured.averaged or measured.altered:
        return False
    return subject.split == split and subject.prevalence is None


def _outdated(chosen: _Chosen) -> str:
    return f"{chosen.directory}: holds figures of an earlier model; measure again with " + _command(
        chosen.run.path, chosen.subject
    )


def _on_images_of(base: _Chosen, offered: Sequence[_Chosen]) -> list[_Chosen]:
    return [each for each in offered if each.subject.fingerprint == base.subject.fingerprint]


def _matching(base: _Chosen, offered: Sequence[_Chosen], split: str) -> _Chosen:
    """The evaluation on the images of `base`: on its very shards, if there is one."""
    found = _on_images_of(base, offered)
    found = [each for each in found if each.subject.identity == base.subject.identity] or found
    if not found:
        raise UserError(
            f"{offered[0].run.path}: its evaluations of the {split} split are on other images than "
            f"that of {base.run.path}; measure it on the same with "
            + _command(offered[0].run.path, base.subject)
        )
    return found[0]


# --- the same images ------------------------------------------------------------------------------


def _require_same_kind(first: _Chosen, other: _Chosen) -> None:
    if other.result.class_names != first.result.class_names:
        raise UserError(
            f"{other.directory}: got classes {list(other.result.class_names)}, and "
            f"{list(first.result.class_names)} in {first.directory}; expected the same classes in the "
            "same order"
        )
    if other.subject.fingerprint != first.subject.fingerprint:
        raise UserError(
            f"{other.directory}: was measured on other images than {first.directory} "
            f"({other.subject.shards}, {first.subject.shards}); measure both on the same with "
            + _command(other.run.path, first.subject)
        )


def _aligned(
    first: _Chosen, other: _Chosen, own: StoredPredictions, found: StoredPredictions
) -> StoredPredictions:
    """The predictions of `other` in the order of those of `first`."""
    if found.paths != own.paths:
        _require_same_paths(first, other, own, found)
        place_of = {path: place for place, path in enumerate(found.paths)}
        found = found.ordered(np.array([place_of[path] for path in own.paths]))
    changed = np.flatnonzero(found.labels != own.labels)
    if len(changed):
        raise UserError(
            f"{other.directory}: {counted(len(changed), 'image')} of other classes than in "
            f"{first.directory} ({some_of([own.paths[place] for place in changed])}); measure both on "
            "the same shards with " + _command(other.run.path, first.subject)
        )
    if found.patients != own.patients:
        raise UserError(
            f"{other.directory}: its shards tell the patients of other images apart than those of "
            f"{first.directory}; measure both on the same with "
            + _command(other.run.path, first.subject)
        )
    return found


def _require_same_paths(
    first: _Chosen, other: _Chosen, own: StoredPredictions, found: StoredPredictions
) -> None:
    missing, further = set(own.paths) - set(found.paths), set(found.paths) - set(own.paths)
    for chosen, one in ((first, own), (other, found)):
        if len(set(one.paths)) < len(one.paths):
            raise UserError(
                f"{chosen.directory}: several of its images have the same path, so they cannot be found "
                f"in {(other if chosen is first else first).directory}; measure both on the same shards"
            )
    if missing or further:
        parts = [
            f"{len(images):,} {what} ({some_of(sorted(images))})"
            for images, what in ((missing, "are missing"), (further, "are further ones"))
            if images
        ]
        raise UserError(
            f"{other.directory}: not the {counted(len(own.paths), 'image')} of {first.directory}: "
            f"{', '.join(parts)}; measure both on the same shards with "
            + _command(other.run.path, first.subject)
        )


def _command(run: Path, subject: Subject) -> str:
    return (
        f"python -m engine.evaluate {_quoted(run)} {shlex.quote(subject.shards)} "
        f"--split {subject.split}"
    )


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


# --- what is known of a run -----------------------------------------------------------------------


def _names(chosen: Sequence[_Chosen]) -> list[str]:
    """Directories' names where these differ, else paths; with the evaluation where a run comes twice."""
    resolved = [each.run.path.resolve() for each in chosen]
    short = [path.name for path in resolved]
    names = []
    for each, path, name in zip(chosen, resolved, short, strict=True):
        same_name = {other for other in resolved if other.name == name}
        called = name if len(same_name) == 1 else str(each.run.path)
        called = f"{called}: {each.subject.name}" if resolved.count(path) > 1 else called
        names.append(files.one_line(called))
    return names


def _compared(chosen: _Chosen, name: str, predictions: StoredPredictions) -> ComparedRun:
    run, subject = chosen.run, chosen.subject
    members = run.members or (run,)
    settings = _mapping(run.config)
    model = str(settings.get("model", "not known"))
    if len(members) > 1:
        model = f"{len(members)} x {model}"
    if subject.averaged:
        model = f"mean of {', '.join(subject.averaged)}"
    trained = [_mapping(member.training_summary) for member in members]
    parameters, seconds = (_sum(trained, key) for key in ("parameters", "seconds"))
    return ComparedRun(
        name=name,
        path=run.path,
        directory=chosen.directory,
        result=chosen.result,
        subject=subject,
        predictions=predictions,
        model=model,
        parameters=None if parameters is None or subject.averaged else int(parameters),
        seconds=None if subject.averaged else seconds,
        settings={**_used(settings), **_data(run, subject)},
    )


def _used(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that the run's network takes."""
    network = registry.built_in().get(str(settings.get("model")))
    if network is None:
        own = settings.get("model_settings")
        own = own if isinstance(own, dict) else {}
        return {**own, **{k: v for k, v in settings.items() if k not in _NO_DIFFERENCE}}
    foreign = set(registry.SETTINGS) - set(network.settings)
    return {k: v for k, v in settings.items() if k not in foreign and k not in _NO_DIFFERENCE}


def _data(run: RunDirectory, subject: Subject) -> dict[str, Any]:
    """What of the training data and of the evaluation may differ."""
    data = _mapping(run.environment).get("data")
    data = data if isinstance(data, dict) else {}
    train = data.get("splits", {}).get("train", {}) if isinstance(data.get("splits"), dict) else {}
    size = data.get("image_size")
    found = {
        "image_size": "x".join(map(str, size)) if isinstance(size, list) else None,
        "channels": data.get("channels"),
        "training_images": train.get("num_examples") if isinstance(train, dict) else None,
        "data": str(data["fingerprint"])[:8] if data.get("fingerprint") else None,
        "prevalence": None if subject.prevalence is None else list(subject.prevalence),
    }
    return {name: value for name, value in found.items() if value is not None}


def _sum(trained: Sequence[dict[str, Any]], key: str) -> float | None:
    values = [each.get(key) for each in trained]
    known = [float(value) for value in values if isinstance(value, (int, float))]
    return sum(known) if len(known) == len(values) else None


def _mapping(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none that can be read."""
    try:
        found = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

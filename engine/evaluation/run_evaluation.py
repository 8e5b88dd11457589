"""`evaluate_run(run, shards)`: measures a trained run on a split of a data set and stores the results.

`python -m engine.evaluate`, the search and `engine.evaluate(...)` from Python all call it.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.base import progress
from engine.base.config import UserError
from engine.base.run_settings import EvaluateConfig
from engine.base.setting_values import ESTIMATED
from engine.evaluation import (
    class_mapping,
    estimated_prevalence,
    evaluation_files,
    fixed_cuts,
    measured_subject,
    metadata_columns,
)
from engine.evaluation import contact_sheets as sheets
from engine.evaluation.class_mapping import ClassMapping
from engine.evaluation.evaluation_files import SplitPredictions
from engine.evaluation.metadata_columns import MetadataColumn
from engine.inference import applicability
from engine.inference import ensemble as ensembles
from engine.inference.ensemble import EnsemblePredictor
from engine.inference.predictor import Outputs, Predictor
from engine.metrics import evaluation, member_results, prior_shift, recalibration
from engine.metrics import strata as stratification
from engine.metrics.evaluation import Evaluation
from engine.metrics.member_results import MemberResults
from engine.metrics.recalibration import Recalibration
from engine.metrics.subject import Subject
from engine.runs import contract, report
from engine.runs import ensemble as run_groups
from engine.runs.contract import InferenceContract
from engine.runs.run_directory import RunDirectory
from engine.shards import dataset_checks, record_scan, tfrecords
from engine.shards.tfrecords import Manifest

if TYPE_CHECKING:
    from engine.pipeline.reading import StoredSplit


def evaluate_run(
    run: RunDirectory | run_groups.Places,
    shards: Path | str,
    *,
    split: str = "test",
    name: str | None = None,
    batch_size: int = 128,
    resamples: int = 1000,
    seed: int = 0,
    shifts: bool = False,
    classes: str | None = None,
    strata: str | None = None,
    prevalence: str | None = None,
    recalibrate: int | None = None,
    abstain: bool = False,
    at_specificity: str = "0.9",
    at_sensitivity: str = "0.95",
    flip_average: bool = False,
    figures: Sequence[str] = ("png",),
    contact_sheets: int = 12,
) -> Evaluation:
    """Measures a run's model on every example of a split; writes `RUN/evaluation/NAME` and the report.

    Args:
        run: made by `engine.train`, one seed or several; several paths are averaged, and the results go
            to the first one's directory.
        shards: made by `engine.build_tfrecords`, of the run's image size and channels.
        split: the split to measure.
        name: the directory of the results; None: the split's name, followed by a part of the data's
            identity if the run was trained on other data, and by what changes the probabilities: the
            prevalence, if one is given, and averaging over mirror images.
        batch_size: images per step of the model.
        resamples: bootstrap resamples behind the intervals that need them.
        seed: seed of the resamples.
        shifts: whether to measure under changed exposure, contrast, framing and sharpness too.
        classes: `theirs=ours,...`: which class of the run each class of the shards is; those that are
            not listed are left out. None where both have the same classes.
        strata: `FILE.csv:column,...`: columns by which the figures are given too; `age:18,40` sets the
            limits of a column of numbers.
        prevalence: the share of the positive class, or of each class, that probabilities are given
            for, as `0.1` or `0.7,0.2,0.1`; `estimate` finds it from the images' own probabilities; None
            for that which training implied.
        recalibrate: a number of labelled images; whether to show what so many of this place would give.
        abstain: whether to leave the images undecided that are unlike the training images.
        at_specificity, at_sensitivity: rates, as `0.9` or `0.8,0.9`, at which the other rate is given.
        flip_average: whether to average over each image and its mirror image.
        figures: what figures are written as, some of png, svg and pdf; PNG always.
        contact_sheets: how many of the most wrong and of the least certain images are drawn.

    Returns:
        All figures, with what they are of; `run.evaluation(result.subject.name)` holds the files.

    Raises:
        UserError: a setting is not valid, the run or the shards are missing or damaged or do not fit
            each other, or the directory holds results on other data or with other classes or another
            prevalence, or is in use.
    """
    settings = EvaluateConfig(
        split=split,
        name=name,
        batch_size=batch_size,
        resamples=resamples,
        seed=seed,
        shifts=shifts,
        classes=classes,
        strata=strata,
        prevalence=prevalence,
        recalibrate=recalibrate,
        abstain=abstain,
        at_specificity=at_specificity,
        at_sensitivity=at_sensitivity,
        flip_average=flip_average,
        figures=tuple(figures),
        contact_sheets=contact_sheets,
    )
    run = run if isinstance(run, RunDirectory) else run_groups.opened(run)
    shards = Path(shards)
    run.require_trained()
    manifest = tfrecords.read_manifest(shards)
    num_examples = dataset_checks.split_info(manifest, settings.split).num_examples
    used = contract.stored(run)
    check_same_format(used, manifest, shards)
    mapping = class_mapping.matched(
        settings.classes,
        trained_on=used.class_names,
        manifest=manifest,
        split=settings.split,
        shards=shards,
    )
    if settings.abstain:
        applicability.require(run)
    left = num_examples - sum(mapping.left_out.values())
    if settings.recalibrate is not None:
        recalibration.check_number(settings.recalibrate, num_examples=left)
    if settings.prevalence == ESTIMATED:
        prior_shift.check_number(left)
    subject = measured_subject.of_run(run, shards, manifest, settings, mapping, used.class_names)
    columns = _columns(shards, manifest, mapping, settings)
    for warning in subject.warnings:
        progress.say(f"warning: {warning}")
    if mapping.names is not None:
        progress.say(f"classes: {mapping}")
    directory = run.evaluation(subject.name)
    with evaluation_files.held(directory, subject):
        predictor = _load(run, subject, settings)
        from engine.pipeline.reading import StoredSplit  # with TensorFlow, which `_load` announces

        stored = StoredSplit(shards, settings.split, manifest)
        shown = sheets.Candidates(settings.contact_sheets, threshold=predictor.threshold)
        shares = None
        if not subject.prevalence_estimated:
            predictions = predict_split(predictor, stored, mapping, shown)
        else:  # what is wrong and what is close is known when the shares are
            predictions = predict_split(predictor, stored, mapping)
            shares, predictor, predictions = estimated_prevalence.applied(
                predictor, predictions, seed=settings.seed
            )
            subject = measured_subject.at_estimated_shares(
                subject, shares, predictions, used.class_names
            )
            shown = sheets.of_predictions(
                settings.contact_sheets,
                stored,
                mapping,
                predictions,
                threshold=predictor.threshold,
            )
        trained_on = run.read_environment()["data"].get("identity")
        cuts = fixed_cuts.chosen_on_validation(run, subject, contract.read(run), trained_on)
        result = _measured(predictions, predictor, settings, columns, cuts)
        if settings.shifts:
            from engine.evaluation import shift_evaluation

            shifted = shift_evaluation.measure(predictor, stored, mapping)
            result = dataclasses.replace(result, shifts=shifted)
        result = dataclasses.replace(
            result,
            subject=subject,
            estimated_shares=shares,
            members=_member_results(run, predictor, predictions),
            recalibration=_recalibrated(predictions, predictor, settings),
        )
        evaluation_files.write_results(
            directory,
            result,
            predictions,
            formats=settings.figures,
            draw_sheets=functools.partial(
                sheets.draw,
                shown,
                run=run,
                predictor=predictor,
                split=settings.split,
            ),
        )
    report.write_report(run.path)
    return result


def _load(run: RunDirectory, subject: Subject, settings: EvaluateConfig) -> Predictor:
    progress.say("loading TensorFlow and the model ...")
    predictor = ensembles.load(
        run,
        batch_size=settings.batch_size,
        prevalence=subject.prevalence,
        flip_average=settings.flip_average,
    )
    if run.model_digest() != subject.model:
        raise UserError(
            f"{run.model}: a training replaced the model while it was loaded; evaluate it again"
        )
    if not predictor.measures_distances:
        applicability.say_absent(run)
    return predictor


def _columns(
    shards: Path, manifest: Manifest, mapping: ClassMapping, settings: EvaluateConfig
) -> list[MetadataColumn]:
    """The columns of `--strata`, which give strata for the examples that are measured."""
    if settings.strata is None:
        return []
    found = record_scan.scan_split(shards, manifest, settings.split)
    paths = record_scan.paths_of(found)
    labels = mapping.labels[np.concatenate([shard.labels for shard in found])]
    measured = [path for path, label in zip(paths, labels, strict=True) if label >= 0]
    columns = metadata_columns.read(settings.strata, paths)
    for column in columns:
        values = column.of(measured).values
        stratification.stratified(values, column=column.name, edges=column.edges)
    return columns


def _measured(
    predictions: SplitPredictions,
    predictor: Predictor,
    settings: EvaluateConfig,
    columns: Sequence[MetadataColumn],
    cuts: Mapping[tuple[str, str], float],
) -> Evaluation:
    return evaluation.evaluate(
        predictions.labels,
        predictions.probabilities,
        predictions.patients,
        class_names=predictor.contract.class_names,
        threshold=predictor.threshold,
        resamples=settings.resamples,
        seed=settings.seed,
        log_odds=predictions.log_odds,
        columns=[column.of(predictions.paths) for column in columns],
        distances=predictions.distances,
        abstained=settings.abstain,
        rules=fixed_cuts.rules(settings),
        chosen=cuts,
        prevalence=predictor.prevalence,
    )


def _recalibrated(
    predictions: SplitPredictions, predictor: Predictor, settings: EvaluateConfig
) -> Recalibration | None:
    """What labelled images would give, if that was asked for."""
    if settings.recalibrate is None:
        return None
    return recalibration.simulate(
        predictions.labels,
        predictions.log_odds,
        predictions.patients,
        num_images=settings.recalibrate,
        threshold=predictor.threshold,
        rule=predictor.contract.threshold_rule,
        seed=settings.seed,
    )


def _member_results(
    run: RunDirectory, predictor: Predictor, predictions: SplitPredictions
) -> MemberResults | None:
    """The figures of each run at its own threshold; None of a run by itself."""
    if not isinstance(predictor, EnsemblePredictor):
        return None
    assert predictions.spread is not None
    found = zip(run_groups.names(run), predictor.members, predictions.members, strict=True)
    values = {
        name: {
            "threshold": member.threshold,
            **member_results.point_estimates(
                predictions.labels, outputs.probabilities, outputs.log_odds, member.threshold
            ),
        }
        for name, member, outputs in found
    }
    return MemberResults(values, member_results.mean_spread(predictions.spread))


def check_same_format(run: InferenceContract, manifest: Manifest, shards: Path) -> None:
    """Raises `UserError` unless shards hold images of the run's size and channels."""
    pairs = {
        "image size": (run.image_format.image_size, manifest.image_size),
        "channels": (run.image_format.channels, manifest.channels),
    }
    for name, (trained_on, found) in pairs.items():
        if trained_on != found:
            raise UserError(
                f"{shards}: got {name} {found}, but the run was trained on {trained_on}; build shards "
                "of the run's image size and channels"
            )


def predict_split(
    predictor: Predictor,
    stored: "StoredSplit",
    mapping: ClassMapping,
    shown: sheets.Candidates | None = None,
) -> SplitPredictions:
    """Predicts every example of a split once, with progress on standard error.

    Args:
        mapping: which labels are which of the run's; examples that it leaves out are not predicted.
        shown: is offered every image.

    Raises:
        UserError: a shard is damaged.
    """
    dataset = stored.dataset(predictor.batch_size, ("image", "label", "path", "patient"))
    labels, outputs = [], []
    paths: list[str] = []
    patients: list[str] = []
    with (
        stored.damage_named(),
        progress.ProgressBar(f"evaluating {stored.name}", total=stored.num_examples) as bar,
    ):
        for raw in dataset.as_numpy_iterator():
            batch = mapping.applied(raw)
            labels.append(batch["label"])
            outputs.append(predictor.outputs(batch["image"], with_distances=True))
            batch_paths = list(map(tfrecords.decoded_text, batch["path"]))
            paths += batch_paths
            patients += map(tfrecords.decoded_text, batch["patient"])
            if shown is not None:
                shown.offer(batch["image"], batch["label"], outputs[-1], batch_paths)
            bar.advance(len(raw["label"]))
    joined = Outputs.joined(outputs)
    return SplitPredictions(
        np.concatenate(labels),
        joined.probabilities,
        joined.log_odds,
        paths,
        patients,
        members=joined.members,
        spread=joined.spread,
        distances=joined.distances,
    )
